"""Once-for-all's latency tables in YAML: `key: {mean: ms}`, one key for each of its building blocks.

Its keys name shapes (height x width x channels) instead of a position, and it has other seams than ours: our
stem is its `Conv`, our head is its `Conv_1`, `AvgPool2D`, `Conv_2` and `Logits` together, everything else is
an `expanded_conv`, the first block too (with `expand`, the inner channels, equal to its input's). So reading
sums the four parts of a head, and writing splits a head by the share of its multiply-accumulates, where a
pooling counts one for each value it takes in. Sums are kept either way; the single parts of a split head are
not measurements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lut.blocks import BlockSpec, ConvSpec, HeadSpec, MBConvSpec
from lut.errors import ExchangeError
from lut.formats.means import read_means_json, read_means_yaml
from lut.words import printable

_HEADER = """\
# Latencies in ms by once-for-all's keys. A head was measured as one: Conv_1, AvgPool2D, Conv_2 and Logits are
# its latency divided in proportion to multiply-accumulates.
"""


@dataclass(frozen=True)
class OfaPart:
    """One of once-for-all's keys, and which share of our block's latency it stands for."""

    key: str
    share: float


def ofa_parts(block: BlockSpec) -> tuple[OfaPart, ...]:
    """The keys that make up a block: four for a head, one for any other. Shares add up to 1."""
    match block:
        case ConvSpec():
            return (OfaPart(_key("Conv", _image(block.input_shape), _image(block.output_shape)), 1.0),)
        case MBConvSpec():
            details = (
                f"expand:{block.inner_channels}-kernel:{block.kernel}-stride:{block.stride}"
                f"-idskip:{block.residual:d}-se:{block.squeeze_excite:d}-hs:{block.activation == 'hswish':d}"
            )
            key = _key("expanded_conv", _image(block.input_shape), _image(block.output_shape))
            return (OfaPart(f"{key}-{details}", 1.0),)
        case HeadSpec():
            return _head_parts(block)
        case _:
            raise TypeError(
                f"once-for-all has no key for a {type(block).__name__}; add it to lut.formats.once_for_all.ofa_parts"
            )


def _head_parts(head: HeadSpec) -> tuple[OfaPart, ...]:
    area, mid, features = head.resolution**2, head.mid_channels, head.features
    expanded, pooled = (mid, head.resolution, head.resolution), (mid, 1, 1)
    work = {
        _key("Conv_1", _image(head.input_shape), _image(expanded)): head.in_channels * mid * area,
        _key("AvgPool2D", _image(expanded), _image(pooled)): mid * area,
        _key("Conv_2", _image(pooled), _image((features, 1, 1))): mid * features,
        _key("Logits", _image((features, 1, 1)), str(head.classes)): features * head.classes,
    }
    total = sum(work.values())
    return tuple(OfaPart(key, part / total) for key, part in work.items())


def _key(kind: str, taken: str, given: str) -> str:
    return f"{kind}-input:{taken}-output:{given}"


def _image(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{height}x{width}x{channels}"


def read_ofa(text: str, blocks: Iterable[BlockSpec], *, json: bool = False) -> tuple[dict[str, float], int]:
    """Latencies in ms by our block keys, and how many keys of the file belong to none of `blocks`.

    Published files hold several widths and resolutions, so keys of other blocks are no error; a block
    with a part missing is left out. Raises `ExchangeError` for what is not YAML, not of this form, a key
    that occurs twice, or a mean that is not a number above 0.
    """
    blocks = tuple(blocks)
    means = read_means_json(text) if json else read_means_yaml(text)
    _require_same_space(means, blocks)
    latencies: dict[str, float] = {}
    used: set[str] = set()
    for block in blocks:
        keys = [part.key for part in ofa_parts(block)]
        if all(key in means for key in keys):
            latencies[block.key] = math.fsum(means[key] for key in keys)
            used.update(keys)
    if not used:
        raise ExchangeError(_why_none(means))
    return latencies, len(means.keys() - used)


def ofa_resolutions(text: str, *, json: bool = False) -> tuple[int, ...]:
    """Sides of the images that a file's first convolutions take in, ascending. Raises `ExchangeError` as `read_ofa`."""
    found = (re.match(r"Conv-input:(\d+)x\1x3-", key) for key in (read_means_json if json else read_means_yaml)(text))
    return tuple(sorted({int(match[1]) for match in found if match}))


def write_ofa(latencies_ms: Mapping[str, float], blocks: Iterable[BlockSpec]) -> str:
    """The text of a YAML file with a `mean` for every part of the `blocks` that have a latency."""
    lines = [
        f"{part.key}:\n  mean: {latencies_ms[block.key] * part.share!r}\n"
        for block in blocks
        if block.key in latencies_ms
        for part in ofa_parts(block)
    ]
    return _HEADER + "".join(lines)


_STEM = re.compile(r"Conv-input:(\d+)x\d+x3-output:\d+x\d+x(\d+)")
_RATIO = re.compile(r"expanded_conv-.*-expand:\d{1,2}-kernel:\d+-stride:\d+-idskip:[01]")


def _require_same_space(means: Mapping[str, float], blocks: Iterable[BlockSpec]) -> None:
    """Raise `ExchangeError` if the file is of another space, or its stems are of other images or another width."""
    if any(_RATIO.fullmatch(key) for key in means) and not any("-se:" in key for key in means):
        raise ExchangeError(
            f"the {len(means)} keys are of ProxylessNAS' space ('expand:' is a ratio there, and 'se' and 'hs' are "
            "lacking), whose blocks are not this space's; give a table in once-for-all's MobileNetV3 keys"
        )
    stems = {(block.resolution, block.out_channels) for block in blocks if isinstance(block, ConvSpec)}
    found = {(int(match[1]), int(match[2])) for key in means if (match := _STEM.fullmatch(key))}
    if not stems or not found or stems & found:
        return
    sides, wanted = sorted({side for side, _ in found}), sorted({side for side, _ in stems})
    if not set(sides) & set(wanted):
        raise ExchangeError(
            f"keys are of {' and '.join(map(str, sides[:5]))} pixels, not {' and '.join(map(str, wanted[:5]))}; "
            f"give --resolution {sides[0]}"
        )
    channels = sorted({width for side, width in found if side in wanted})
    raise ExchangeError(
        f"keys are of another width: their stem has {' or '.join(map(str, channels[:5]))} channels, not "
        f"{' or '.join(str(width) for _, width in sorted(stems)[:5])}; give the --space of that width"
    )


def _why_none(means: Mapping[str, float]) -> str:
    example = printable(next(iter(means), "nothing"), 80)
    return (
        f"none of the {len(means)} keys is a block of the space; check --space, --resolution and --classes "
        f"(the first key is {example})"
    )
