import pytest
import torch
import torch.nn.functional as F

from pnag.supernet.elastic import PointwiseConv, SmallMapConv, spare_rings


@pytest.mark.parametrize(
    ("kernel", "side", "rings"), [(7, 1, 3), (7, 2, 2), (7, 3, 1), (7, 4, 0), (3, 1, 1), (3, 8, 0)]
)
def test_spare_rings_meet_only_padding(kernel, side, rings):
    assert spare_rings(kernel, side) == rings
    weight, image = torch.randn(5, 1, kernel, kernel), torch.randn(2, 5, side, side)
    centre = weight[:, :, rings : kernel - rings, rings : kernel - rings]
    for stride in (1, 2):
        whole = F.conv2d(image, weight, None, stride, kernel // 2, groups=5)
        torch.testing.assert_close(F.conv2d(image, centre, None, stride, kernel // 2 - rings, groups=5), whole)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 8, 9])
def test_small_maps_have_the_gradients_of_torchs_convolution(kernel, stride, side):
    ours = SmallMapConv(6, 6, kernel, stride, kernel // 2, groups=6, bias=False).double()
    images = torch.randn(3, 6, side, side, dtype=torch.float64, requires_grad=True)
    out = ours(images)
    expected = F.conv2d(images, ours.weight, None, stride, kernel // 2, groups=6)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    wanted = torch.autograd.grad(expected, (images, ours.weight), upstream)
    torch.testing.assert_close(torch.autograd.grad(out, (images, ours.weight), upstream), wanted)


@pytest.mark.parametrize("side", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_pointwise_convolution_has_the_outputs_and_gradients_of_torchs(side, bias, memory_format, monkeypatch):
    conv = torch.nn.Conv2d(6, 10, 1, bias=bias).double()
    ours = PointwiseConv.of(conv)
    images = torch.randn(3, 6, side, side, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    expected = conv(images)
    if side <= 4:  # else it is torch's convolution itself
        monkeypatch.setattr(F, "conv2d", None)
    out = ours(images)
    torch.testing.assert_close(out, expected)
    upstream, wanted = torch.randn_like(out), (images, *conv.parameters())
    gradients = torch.autograd.grad(out, wanted, upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, wanted, upstream))
