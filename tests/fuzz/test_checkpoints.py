"""Checkpoints in all the wrappings that training scripts give them, spoilt in tensors, names, metadata and bytes."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from pnag.errors import CheckpointError, PnagError
from pnag.supernet.checkpoint import read_checkpoint
from pnag.supernet.checkpoint_file import plain_name
from pnag.supernet.training_loop import CheckpointFile
from tests.fuzz.harness import DAMAGE, EXAMPLES, NO_DAMAGE, bomb, bounded, damaged, fuzz, one_line, spoilt_json
from tests.pnag.tiny import TINY_SPACE

SHAPES = {"a.weight": (3, 2), "a.bias": (3,), "b.bn.running_var": (4,), "b.bn.num_batches_tracked": ()}
State = dict[str, Tensor]


def state() -> State:
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}
    return made | {"b.bn.num_batches_tracked": torch.tensor(7)}


# What a training script makes of a state dict.
WRAPPINGS: dict[str, Any] = {
    "alone": lambda s: s,
    "ordered": OrderedDict,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    },
    "nested": lambda s: {"state_dict": {"model": {"module": s}}},
    "ema": lambda s: {"ema_state_dict": s, "args": {"lr": 0.1}},
    "numpy scalars": lambda s: {"state_dict": s, "best": np.float64(0.5)},
    "parallel": lambda s: {f"module.{name}": tensor for name, tensor in s.items()},
    "compiled": lambda s: {f"module._orig_mod.{name}": tensor for name, tensor in s.items()},
    "profiled": lambda s: s | {"a.total_ops": torch.zeros(1), "total_params": torch.zeros(1)},
    "too deep": lambda s: {"model": {"model": {"model": {"model": {"model": s}}}}},
    "in a list": lambda s: [s],
    "twice": lambda s: s | {f"module.{name}": tensor for name, tensor in s.items()},
    "ours": lambda s: {"state_dict": s, "metadata": {"format": "pnag-supernet", "space": "{", "data": 3}},
}
TYPES = (
    torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64,
    torch.float8_e4m3fn,
)  # fmt: skip
ODD_TENSORS = {
    "scalar": lambda t: torch.tensor(1.0),
    "empty": lambda t: torch.empty(0),
    "expanded": lambda t: torch.zeros(1).expand(1 << 40),
    "expanded in place": lambda t: torch.full((1,), 0.5).expand(t.shape),
    "turned": lambda t: t.t().contiguous().t() if t.ndim == 2 else t,
    "a part": lambda t: torch.cat([t.reshape(-1)] * 2)[: t.numel()].reshape(t.shape),
    "sparse": lambda t: t.to_sparse(),
    "quantized": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    "nan": lambda t: t * float("nan"),
    "huge": lambda t: t.double() * 1e300,
    "infinite": lambda t: t / 0,
    "negative": lambda t: -t,
    "parameter": lambda t: torch.nn.Parameter(t.float()),
    "meta": lambda t: t.to("meta"),
    "number": lambda t: 0.5,
    "array": lambda t: t.numpy(),
    "nothing": lambda t: None,
}


def is_small(value: Any) -> bool:
    """Whether it is a tensor of real numbers with values of its own, and few of them."""
    if not isinstance(value, Tensor) or value.is_meta or value.is_quantized or value.layout != torch.strided:
        return False
    return value.numel() < 100 and not value.is_complex()


@st.composite
def spoilt_state(draw: st.DrawFn) -> dict[Any, Any]:
    """A state dict, or one with a tensor that lacks, has another name, type, form or value."""
    found: dict[Any, Any] = dict(state())
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(list(found)))
        what = draw(st.sampled_from(["drop", "name", "type", "odd", "odd", "all"]))
        tensor = found[name]
        if what == "drop" and len(found) > 1:
            del found[name]
        elif what == "name":
            found[draw(st.sampled_from(["x", "", 3, "\ud800", "a\nb", "\x1b[31m", ("t",), "a.weight."]))] = found.pop(
                name
            )
        elif what == "type" and is_small(tensor):
            found[name] = tensor.to(draw(st.sampled_from(TYPES)))
        elif what == "all":
            kind = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float64]))
            found = {key: value.to(kind) if is_small(value) and value.ndim else value for key, value in found.items()}
        elif what == "odd" and is_small(tensor):
            try:
                found[name] = ODD_TENSORS[draw(st.sampled_from(sorted(ODD_TENSORS)))](tensor)
            except (RuntimeError, TypeError, NotImplementedError):
                continue
    return found


def pickled(content: Any, *, legacy: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def plain_reading(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by plain name, as torch or safetensors alone read them."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        found: Any = load(path.read_bytes())
    else:
        with torch.serialization.safe_globals([np.dtype, type(np.dtype("f8")), np._core.multiarray.scalar]):
            found = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)

    def tensors(value: Any) -> dict[str, Tensor]:
        own = {plain_name(str(key)): item for key, item in value.items() if isinstance(item, Tensor)}
        inside = [
            tensors(item) for key, item in value.items() if isinstance(item, dict) and key not in ("optimizer", "args")
        ]
        return own or next((each for each in inside if each), {})

    return tensors(found)


def read(path: Path) -> None:
    """Read it, or be refused in one line; what was read is what the file holds."""
    try:
        with bounded():
            found, about = read_checkpoint(path, TINY_SPACE, SHAPES, tell=lambda _: None)
    except CheckpointError as error:
        one_line(error, path.name)
        return
    assert isinstance(about, dict)
    plain = plain_reading(path)
    for name, shape in SHAPES.items():
        kind = torch.float32 if plain[name].is_floating_point() else torch.int64
        assert found[name].shape == torch.Size(shape)
        assert torch.equal(found[name], plain[name].to(kind))


@fuzz(30)
@given(spoilt=spoilt_state(), wrapping=st.sampled_from(sorted(WRAPPINGS)), legacy=st.booleans(), data=st.data())
def test_pickled_checkpoints(tmp_path, spoilt, wrapping, legacy, data):
    path = tmp_path / "c.pth"
    try:
        content = pickled(WRAPPINGS[wrapping](spoilt), legacy=legacy)
    except (RuntimeError, UnicodeEncodeError, NotImplementedError, TypeError):
        return  # torch cannot write it
    path.write_bytes(damaged(content, data.draw(st.one_of(st.just(NO_DAMAGE), DAMAGE))))
    if path.read_bytes() == content or not legacy:
        read(path)
        return
    try:  # older files have no checksum: what they say then is not known, but it is said without a traceback
        with bounded():
            read_checkpoint(path, TINY_SPACE, SHAPES, tell=lambda _: None)
    except CheckpointError as error:
        one_line(error, path.name)


def test_a_changed_byte_of_a_zipped_checkpoint_is_noticed(tmp_path):
    path, content = tmp_path / "c.pth", pickled(state(), legacy=False)
    wanted = read_checkpoint(saved(path, content), TINY_SPACE, SHAPES)[0]
    for place in range(0, len(content), 1 if EXAMPLES else 29):
        changed = bytearray(content)
        changed[place] ^= 0x10
        try:
            found = read_checkpoint(saved(path, bytes(changed)), TINY_SPACE, SHAPES)[0]
        except CheckpointError as error:
            one_line(error, "c.pth")
        else:
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("without_checksums", [False, True])
def test_what_torch_writes_is_read(tmp_path, without_checksums):
    torch.serialization.set_crc32_options(not without_checksums)
    try:
        read(saved(tmp_path / "c.pth", pickled(state(), legacy=False)))
        assert read_checkpoint(tmp_path / "c.pth", TINY_SPACE, SHAPES)[0]["a.weight"].shape == (3, 2)
    finally:
        torch.serialization.set_crc32_options(True)


ABOUT = {
    "format": "pnag-supernet",
    "space": TINY_SPACE.to_dict(),
    "data": {"mean": [0.5], "std": [0.2]},
    "content_sha256": "",
}


@fuzz(30)
@given(
    spoilt=spoilt_state(), about=st.one_of(st.none(), spoilt_json(ABOUT)), damage=st.one_of(st.just(NO_DAMAGE), DAMAGE)
)
def test_safetensors(tmp_path, spoilt, about, damage):
    tensors = {
        str(name): value.contiguous().clone() for name, value in spoilt.items()
        if isinstance(value, Tensor) and value.numel() < 100 and value.layout == torch.strided
        and not value.is_quantized and value.device.type != "meta" and str(name).isprintable()
    }  # fmt: skip
    metadata = None
    if isinstance(about, dict):
        metadata = {
            str(k): v if isinstance(v, str) else json.dumps(v) for k, v in about.items() if str(k).isprintable()
        }
        metadata = {k: v for k, v in metadata.items() if v.isprintable()}
    try:
        content = safetensors_bytes(tensors, metadata)
    except Exception:  # safetensors cannot write it
        return
    path = saved(tmp_path / "c.safetensors", damaged(content, damage))
    read(path)


BOMBS = {
    "unpacks to 3 GiB": bomb("archive/data.pkl"),
    "says that it is small": bomb("archive/data.pkl", claimed=100),
    "a tensor of 400 MiB": bomb("archive/data/0", size=400 << 20),
    "nothing but a beginning": b"PK\x03\x04",
    "a pickle of lists in lists": b"\x80\x02" + b"(" * 20_000 + b"l" * 20_000 + b".",
    "a pickle of a long number": b"\x80\x02\x8b\xff\xff\xff\x7f",
    "a pickle of a long text": b"\x80\x02X\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_unpack_to_more_than_they_are(tmp_path, name):
    path = saved(tmp_path / "c.pth", BOMBS[name])
    with bounded(), pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, TINY_SPACE, SHAPES)
    one_line(caught.value, "c.pth")
    with bounded(), pytest.raises(PnagError) as caught:
        CheckpointFile(path, {"config": {}}).read()
    one_line(caught.value, "c.pth")


@fuzz()
@given(
    about=spoilt_json({"config": {"epochs": 1}, "space": {"name": "x"}}), damage=st.one_of(st.just(NO_DAMAGE), DAMAGE)
)
def test_states_of_a_training(tmp_path, about, damage):
    path = saved(tmp_path / "c.pt", damaged(pickled({"identity": about, "step": 3}, legacy=False), damage))
    try:
        with bounded():
            found = CheckpointFile(path, {"config": {"epochs": 1}}).read()
    except CheckpointError as error:
        one_line(error)
    else:
        assert (found or {})["step"] == 3
