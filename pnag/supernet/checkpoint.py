"""Supernet weights in files: once-for-all's spellings of tensor names, old and new, and our metadata."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

from lut.files import replacing
from lut.formats.canonical import parse_json
from lut.words import printable
from pnag.errors import CheckpointError, SpaceError
from pnag.supernet.checkpoint_file import as_float32, plain_name, read_tensors
from profiler.console import say

SCHEMA_VERSION = 1

_HEAD = re.compile(r"^(final_expand_layer|feature_mix_layer|classifier)\.")
_DOUBLED = re.compile(r"\.(bn|linear)\.\1\.|\.(conv)\.conv\.(?=weight$)")
_ELASTIC = re.compile(r"^(blocks\.[1-9]\d*\.conv\.\w+)\.(bn\.|conv\.(?=weight$))")


class WeightSpace(Protocol):
    """What a checkpoint asks of the space that its weights are of: `pnag.space.search_space.SearchSpace` is one."""

    @property
    def name(self) -> str:
        """Its name, for what is said."""

    @property
    def classes(self) -> int:
        """Of the classifier."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the file."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `SpaceError`."""

    def require_same_family(self, other: Self, what: str) -> None:
        """Raise `SpaceError` where weights of the other one are of no use here."""


def our_name(name: str) -> str:
    """The tensor's name in `Supernet.state_dict()` for any spelling that once-for-all used.

    Spellings differ in the prefixes of wrappers (see `plain_name`), in `mobile_inverted_conv` for `conv`, and in
    whether an elastic layer's own `bn`, `conv` or `linear` is named once or twice.
    """
    name = plain_name(name).replace(".mobile_inverted_conv.", ".conv.")
    name = _DOUBLED.sub(lambda match: f".{match[1] or match[2]}.", name)
    name = name.replace("classifier.linear.", "classifier.")
    return _HEAD.sub(r"head.\1.", name)


def published_name(name: str) -> str:
    """Once-for-all's present name of a tensor of `Supernet.state_dict()`; `our_name` gives it back."""
    name = name.removeprefix("head.").replace("classifier.", "classifier.linear.")
    return _ELASTIC.sub(r"\1.\2\2", name)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash over the names, shapes and values of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(
    path: str | Path, state: Mapping[str, Tensor], space: WeightSpace, data: Mapping[str, Any]
) -> None:
    """Write tensors with the space and the data's identity. Raises `CheckpointError` for another suffix."""
    path = Path(path)
    tensors = {published_name(name): tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {
        "format": "pnag-supernet",
        "schema_version": str(SCHEMA_VERSION),
        "space": json.dumps(space.to_dict()),
        "data": json.dumps(dict(data)),
        "content_sha256": state_sha256(state),
    }
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        content = save(tensors, metadata)
    elif path.suffix in (".pth", ".pt"):
        content = pickled({"state_dict": tensors, "metadata": metadata})
    else:
        raise CheckpointError(f"{path.name} has an unknown suffix; write .safetensors or .pth")
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def pickled(content: Mapping[str, Any]) -> bytes:
    """What `torch.save` writes. In memory, since torch reports a full disk as anything but an `OSError`."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()


def read_checkpoint(
    path: str | Path,
    space: WeightSpace,
    expected: Mapping[str, tuple[int, ...]],
    tell: Callable[[str], None] = say,
) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Tensors under our names, and the identity of the data they were trained on (empty for others' files).

    `expected` are the shapes of all tensors of `space`; weights of other precision become float32, and `tell` is
    told so. Raises `CheckpointError` naming the first tensor that
    is missing, extra or of another shape, or for a file that cannot be read or holds anything but tensors.
    """
    path = Path(path)
    raw, metadata = read_tensors(path)
    named: dict[str, Tensor] = {}
    for name, tensor in raw.items():
        if (ours := our_name(name)) in named:
            raise CheckpointError(
                f"checkpoint {path.name} has {printable(published_name(ours), 80)} under two spellings; give one"
            )
        named[ours] = tensor
    if "space" in metadata:
        try:
            its_space = space.from_dict(_document(path, metadata, "space"))
        except SpaceError as error:
            raise _damaged(path, printable(error, 160)) from error
        try:
            space.require_same_family(its_space, f"checkpoint {path.name}")
        except SpaceError as error:
            raise CheckpointError(str(error)) from error
    _require_tensors(path, named, expected, space)
    state, changed = as_float32(path, named)
    if changed:
        tell(f"the weights of {path.name} are {' and '.join(changed)}; they are taken as float32")
    elif metadata.get("content_sha256", state_sha256(state)) != state_sha256(state):
        raise CheckpointError(f"checkpoint {path} is damaged: its content does not match its hash; make it again")
    return state, _document(path, metadata, "data")


def _document(path: Path, metadata: Mapping[str, str], key: str) -> Mapping[str, Any]:
    """What our own checkpoints say of themselves under `key`, {} for nothing. Raises `CheckpointError`."""
    try:
        document = parse_json(metadata.get(key, "{}"))
    except ValueError as error:
        raise _damaged(path, printable(error, 80)) from error
    if not isinstance(document, dict):
        raise _damaged(path, f"its {key} is of another form")
    return document


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {printable(path)} is damaged ({reason}); make it again")


def _require_tensors(
    path: Path, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], space: WeightSpace
) -> None:
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    for what, names in (("lacks", missing), ("has the unknown tensor", extra)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"checkpoint {path.name} {what} {printable(published_name(names[0]), 80)}{more}; "
                f"space {space.name} has {len(expected)} tensors, the file {len(state)}: take one of this space"
            )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise CheckpointError(
                f"checkpoint {path.name} has {printable(published_name(name), 80)} of shape "
                f"{tuple(state[name].shape)}, space {space.name} with {space.classes} classes needs {shape}; "
                "take a checkpoint of this width and number of classes"
            )
