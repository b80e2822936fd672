import pytest

from pnag.accuracy.provenance import Provenance, Published

LINE = {"slope": 0.968, "offset": -0.0059, "deviation": 0.0025, "networks": 19}


def test_a_line_turns_a_prediction_into_published_top1() -> None:
    # 0.968 · 83 - 0.59 = 79.754 percent
    assert Published(**LINE).top1(0.83) == pytest.approx(0.79754)


@pytest.mark.parametrize(
    ("source", "split", "says"),
    [
        ({"data": {"name": "ImageNet"}, "kind": "predicted", "by": "a net"}, "val", "ImageNet, predicted by a net"),
        ({"data": {"name": "digits"}, "supernet": "ab"}, "val", "digits, measured on its val split"),
        ({}, "unknown", "as given, without a source"),
    ],
)
def test_says_of_which_images_and_by_whom(source: dict[str, object], split: str, says: str) -> None:
    assert str(Provenance.of(source, split=split)) == says


@pytest.mark.parametrize("line", [None, LINE])
def test_what_is_written_is_read(line: dict[str, float] | None) -> None:
    one = Provenance.of({"data": {"name": "d"}, "published_top1": line})
    assert Provenance.from_dict(one.to_dict()) == one
    assert (one.published is None) == (line is None)
