"""Tensors by name out of the files that people have, and nothing else: no code of a file is ever run.

Training scripts write a state dict alone or wrapped, beside counters and optimisers, from a GPU, in half precision,
and under the prefixes of data parallelism, compilation and averaging. What a file is, its content tells: suffixes are
not trusted.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import re
import types
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lut.words import printable
from pnag.errors import CheckpointError

# Under which key training scripts keep the weights, the most usual first.
_WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params", "state_dict_ema",
    "ema_state_dict", "model_ema", "ema",
)  # fmt: skip
_DEEPEST = 4
_PIECE_BYTES = 1 << 20
_MOST_PACKED_BYTES = 256 << 20  # torch packs nothing; others may, a little
# What wrappers put into names: at the front, and wherever a part was wrapped by itself.
_LEADING = re.compile(r"^(?:(?:module|model|net|network|supernet|ema_model|student)\.)+")
_INSIDE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# What profilers and averaging leave among the weights.
_DROPPINGS = re.compile(r"(?:^|\.)(?:total_ops|total_params|n_averaged)$")
_FORBIDDEN = re.compile(r"(?:GLOBAL|global:?|Unsupported class|type) ([A-Za-z_][\w.]*\.[\w.]+)")
_MAGIC = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file: fetch it with 'git lfs pull'"),
    (b"<!doctype html", "it is a web page: the download went wrong, fetch it again"),
    (b"<html", "it is a web page: the download went wrong, fetch it again"),
    (b"\x1f\x8b", "it is packed by gzip: unpack it"),
    (b"\x89HDF", "it is of HDF5, not of torch"),
)
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"


def plain_name(name: str) -> str:
    """A tensor's name without what wrappers put into it: `module.`, `_orig_mod.`, `model.`, any of them repeated."""
    before = ""
    while name != before:
        before, name = name, _LEADING.sub("", _INSIDE.sub("", name))
    return name


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors by plain name as they are stored, on the CPU, and our own metadata (empty for others' files).

    Raises `CheckpointError` for a file that is missing, damaged, of another kind, or holds code.
    """
    if not path.is_file():
        what = f"{printable(path)} is a folder" if path.is_dir() else f"no checkpoint at {printable(path)}"
        raise CheckpointError(f"{what}; give a .pth or .safetensors file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise _unreadable(path, error.strerror or error) from error
    if reason := next((reason for mark, reason in _MAGIC if head.lower().startswith(mark)), None):
        raise _unreadable(path, reason)
    as_pickle = head.startswith((_PICKLE, _ZIP)) or path.suffix != ".safetensors"
    # A safetensors file begins with the length of its header, whose first byte may be the one that pickles begin with.
    within = int.from_bytes(head[:8], "little") <= path.stat().st_size
    if head[8:9] == b"{" and (within or not head.startswith((_PICKLE, _ZIP))):
        as_pickle = False
    raw, metadata = _read_pickle(path) if as_pickle else _read_safetensors(path)
    tensors: dict[str, Tensor] = {}
    for name, tensor in raw.items():
        plain = plain_name(name)
        if _DROPPINGS.search(plain):
            continue
        if plain in tensors:
            raise CheckpointError(f"checkpoint {path.name} has {printable(plain)} twice, two models in one; give one")
        tensors[plain] = tensor
    return tensors, metadata


def as_float32(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors with numbers as a network computes them, and the types that were changed for it.

    Weights become float32, counters int64. Raises `CheckpointError` for types that are no numbers, and for weights
    that are not finite.
    """
    out, changed = {}, set()
    for name, tensor in tensors.items():
        if not _is_plain(tensor):
            kind = "a name without values" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"checkpoint {path.name} has {printable(name)} as {kind}; give float32 weights")
        wanted = torch.float32 if tensor.is_floating_point() else torch.int64
        if tensor.dtype != wanted:
            changed.add(str(tensor.dtype).removeprefix("torch."))
        out[name] = tensor.detach().to(wanted)
        if not bool(torch.isfinite(out[name]).all()):
            raise CheckpointError(
                f"checkpoint {path.name} has a value that is no finite number in {printable(name)}; its training "
                "diverged, or it was cut to half precision too early: take an earlier one"
            )
    return out, tuple(sorted(changed))


def _is_plain(tensor: Tensor) -> bool:
    """Whether it holds values that a network computes with: weights, or one whole number, which counts something."""
    odd = tensor.is_quantized or tensor.is_complex() or tensor.is_meta or tensor.layout != torch.strided
    return not odd and (tensor.is_floating_point() or (tensor.ndim == 0 and tensor.dtype != torch.bool))


def _unreadable(path: Path, reason: object) -> CheckpointError:
    return CheckpointError(f"checkpoint {printable(path)} cannot be read ({printable(reason)}); fetch or make it again")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError, TypeError) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Only tensors and plain values are read, numpy's scalars among them: a pickle's code is never run."""
    require_sound_zip(path)
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([*_plain_numbers(), *_plain_settings()]),
            path.open("rb") as file,  # given a path, torch would trust its suffix
        ):
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged or forbidden part leads to
        raise CheckpointError(_why_not(path, error)) from error
    metadata: Mapping[str, str] = {}
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            break
        found = content.get("metadata")
        if isinstance(found, dict) and found.get("format") == "pnag-supernet":
            metadata = {str(key): value for key, value in found.items() if isinstance(value, str)}
        inside = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inside is None or any(isinstance(value, Tensor) for value in content.values()):
            break
        content = inside
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f"checkpoint {printable(path)} holds a {type(content).__name__}, not tensors by name; give a state dict"
        )
    odd = next(((key, value) for key, value in content.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise CheckpointError(
            f"checkpoint {printable(path)} holds '{printable(odd[0], 60)}', a {type(odd[1]).__name__}, "
            "among its tensors; give a state dict, alone or under 'state_dict'"
        )
    return {str(name): tensor for name, tensor in content.items()}, metadata


def require_sound_zip(path: Path) -> None:
    """Raise `CheckpointError` if `path` is a zip archive, as torch writes, that is damaged or unpacks to far more.

    torch looks at no checksum, and unpacks whatever a small file stands for.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            size = sum(part.file_size for part in parts)
            if size > path.stat().st_size + _MOST_PACKED_BYTES:
                raise ValueError(f"it unpacks to {size >> 20} MiB: save its tensors anew, which torch does not pack")
            for part in parts:
                _check_part(archive, part)
    except Exception as error:  # each part of a damaged archive has errors of its own
        reason = printable(str(error) or type(error).__name__, 120)
        raise CheckpointError(_not_plain(path, f"it is damaged: {reason}")) from error


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """Read a part to its end, where its checksum is compared; one without (0) was written so."""
    if part.CRC == 0:
        return
    with archive.open(part) as file:
        while file.read(_PIECE_BYTES):
            pass


def _why_not(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    if forbidden := _FORBIDDEN.search(text):
        reason = f"it holds {printable(forbidden[1], 80)}, which is neither a tensor nor a plain number"
    elif "TorchScript" in text:
        reason = "it is a TorchScript program"
    elif "weights_only" in text or "Weights only" in text:
        cause = re.sub(r".*?(?:WeightsUnpickler error|Unpickler error):?\s*", "", text)
        reason = printable(cause.partition(" Check the documentation")[0], 160)
    else:
        reason = printable(text or type(error).__name__, 160)
    return _not_plain(path, reason)


def _not_plain(path: Path, reason: str) -> str:
    return (
        f"checkpoint {printable(path)} is not a plain state dict ({reason}); no code of it was run: "
        "save its tensors alone, or fetch it again if it is damaged"
    )


def _plain_settings() -> list[Any]:
    """What training scripts keep of their options beside the weights. Made again, these hold values and do nothing."""
    return [
        argparse.Namespace,
        types.SimpleNamespace,
        pathlib.PurePosixPath,
        (pathlib.PurePosixPath, "pathlib.PosixPath"),  # the system's own class does not exist everywhere
        (pathlib.PurePosixPath, "pathlib._local.PosixPath"),
        (pathlib.PureWindowsPath, "pathlib.WindowsPath"),
        (pathlib.PureWindowsPath, "pathlib._local.WindowsPath"),
        collections.defaultdict,
        datetime.datetime,
        datetime.timedelta,
    ]


def _plain_numbers() -> list[Any]:
    """What numpy's scalars and arrays consist of in a pickle: types and bytes. Nothing of it runs code of a file."""
    import numpy as np
    from numpy._core.multiarray import _reconstruct, scalar

    kinds = [np.bool_, *(np.dtype(code).type for code in np.typecodes["AllInteger"] + np.typecodes["Float"])]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (_reconstruct, "numpy.core.multiarray._reconstruct"),
        (_reconstruct, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *dict.fromkeys(type(np.dtype(kind)) for kind in kinds),
    ]
