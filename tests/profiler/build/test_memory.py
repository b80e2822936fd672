import torch

from lut.blocks import parse_block
from pnag.space import load_space
from profiler.build.memory import activation_bytes
from profiler.build.modules import build_block

STEM = parse_block("conv-i3-o24-k3-s2-hswish@224")
BLOCK = parse_block("mbconv-i24-o32-k5-e4-s2-relu-se0@112")
HEAD = parse_block("head-i192-m1152-f1536-o1000-hswish@7")


def test_a_block_holds_its_input_and_its_widest_layers():
    assert activation_bytes([STEM], 1) == 4 * (3 * 224**2 + 24 * 112**2)
    assert activation_bytes([BLOCK], 1) == 4 * (24 * 112**2 + 96 * 112**2 + 96 * 56**2)
    assert activation_bytes([HEAD], 1) == 4 * (192 * 49 + 1152 * 49 + 1536)


def test_a_network_holds_what_its_largest_block_does_for_each_image():
    one = max(activation_bytes([spec], 1) for spec in (STEM, BLOCK, HEAD))
    assert activation_bytes([STEM, BLOCK, HEAD], 64) == 64 * one
    assert activation_bytes([], 64) == 0


def test_no_layer_of_a_block_gives_more_than_is_counted():
    """By what the layers really give, for every block of a small space."""
    for spec in load_space("ofa-mbv3-w0.25", resolution=32, classes=10).blocks():
        largest = max(sizes_of_layers(build_block(spec).eval(), spec.input_shape))
        assert 4 * largest < activation_bytes([spec], 1) <= 4 * 4 * largest


def sizes_of_layers(module, shape):
    """How many values each layer gives for one image."""
    seen = []
    for layer in module.modules():
        layer.register_forward_hook(lambda _, __, out: seen.append(out.numel()))
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    return seen
