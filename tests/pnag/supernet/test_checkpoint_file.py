"""Checkpoints in the forms in which people have them, all of them the same weights."""

import argparse
import collections
import datetime
import io
import json
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from pnag.errors import CheckpointError
from pnag.supernet.checkpoint_file import plain_name, read_tensors
from pnag.supernet.supernet import Supernet
from pnag.supernet.transfer import fits
from tests.pnag.tiny import TINY_SPACE, random_supernet


class Options:
    """A class of a training script's own."""


NET = random_supernet()
STATE = {f"{name}": tensor for name, tensor in NET.state_dict().items()}


def load(path, content, **options):
    torch.save(content, path, **options)
    return Supernet.load(path, TINY_SPACE)


def refused(path):
    with pytest.raises(CheckpointError) as error:
        Supernet.load(path, TINY_SPACE)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 500
    return line


FORMS = {
    "alone": STATE,
    "run manager": {"epoch": 3, "best_acc": np.float64(71.2), "optimizer": {}, "state_dict": STATE},
    "numpy float32": {"best": np.float32(0.5), "n": np.int64(3), "flag": np.bool_(True), "state_dict": STATE},
    "mean of a list": {"best_acc": np.mean([71.2]), "state_dict": STATE},
    "model": {"model": STATE, "scaler": None},
    "twice wrapped": {"model": {"state_dict": STATE}, "args": {"lr": 0.1}},
    "torchvision's references": {
        "model": STATE,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "lr_scheduler": {"milestones": collections.Counter({30: 1}), "base_lrs": [0.1]},
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, data_path=pathlib.PurePosixPath("/data"), output_dir=pathlib.Path("out")),
    },
    "curves beside": {"state_dict": STATE, "losses": np.arange(3.0), "began": datetime.datetime(2026, 1, 1)},
    "averaged": {"state_dict_ema": {f"module.{n}": t for n, t in STATE.items()} | {"n_averaged": torch.tensor(9)}},
    "parameters": {n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in STATE.items()},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_wrapped_and_alone(tmp_path, form, legacy):
    options = {"_use_new_zipfile_serialization": not legacy}
    assert load(tmp_path / "a.pth.tar", FORMS[form], **options).sha256() == NET.sha256()


def test_numpy_scalars_as_older_releases_wrote_them(tmp_path):
    torch.save(FORMS["run manager"], tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as old, zipfile.ZipFile(tmp_path / "old.pth", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core" in content
                content = content.replace(b"numpy._core", b"numpy.core")
            new.writestr(name, content)
    assert Supernet.load(tmp_path / "old.pth", TINY_SPACE).sha256() == NET.sha256()


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "model.module.", "net.",
            "_forward_module._orig_mod.", "module.module."]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_wrappers(tmp_path, prefix):
    assert load(tmp_path / "a.pth", {prefix + n: t for n, t in STATE.items()}).sha256() == NET.sha256()


def test_parts_that_were_wrapped_by_themselves(tmp_path):
    state = {n.replace("blocks.", "blocks._orig_mod.").replace(".conv.", "._fsdp_wrapped_module.conv.", 1): t
             for n, t in STATE.items()}  # fmt: skip
    assert load(tmp_path / "a.pth", state).sha256() == NET.sha256()
    assert plain_name("model_part.weight") == "model_part.weight"


def test_what_profilers_leave_among_the_weights(tmp_path):
    state = STATE | {"total_ops": torch.zeros(1), "blocks.0.total_params": torch.zeros(1)}
    assert load(tmp_path / "a.pth", state).sha256() == NET.sha256()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e5m2])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_precisions_become_float32_with_a_notice(tmp_path, capsys, kind, suffix):
    cast = {n: t.to(kind) if t.is_floating_point() else t.to(torch.int32) for n, t in STATE.items()}
    path = tmp_path / f"half{suffix}"
    save_file(cast, path) if suffix == ".safetensors" else torch.save({"state_dict": cast}, path)
    net = Supernet.load(path, TINY_SPACE)
    name = str(kind).removeprefix("torch.")
    assert capsys.readouterr().err == f"the weights of {path.name} are {name} and int32; they are taken as float32\n"
    assert fits(path, TINY_SPACE, ())
    assert capsys.readouterr().err == ""  # said once, though it is read several times
    for n, tensor in net.state_dict().items():
        assert tensor.dtype == STATE[n].dtype
        assert torch.equal(tensor, cast[n].to(tensor.dtype))


def test_a_file_of_ours_in_half_precision(tmp_path, capsys):
    NET.save(tmp_path / "net.pth")
    content = torch.load(tmp_path / "net.pth", weights_only=True)
    content["state_dict"] = {n: t.half() if t.is_floating_point() else t for n, t in content["state_dict"].items()}
    assert load(tmp_path / "net.pth", content).space == TINY_SPACE
    assert "float16" in capsys.readouterr().err


def test_saved_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:1")
    torch.save({"state_dict": STATE}, tmp_path / "gpu.pth")
    assert b"cuda:1" in zipfile.ZipFile(tmp_path / "gpu.pth").read("gpu/data.pkl")
    assert Supernet.load(tmp_path / "gpu.pth", TINY_SPACE).sha256() == NET.sha256()


def test_the_content_tells_what_a_file_is(tmp_path):
    torch.save(STATE, tmp_path / "named.safetensors")
    save_file({n: t.clone() for n, t in STATE.items()}, tmp_path / "named.pth")
    for name in ("named.safetensors", "named.pth"):
        assert Supernet.load(tmp_path / name, TINY_SPACE).sha256() == NET.sha256()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    name = next(n for n, t in STATE.items() if t.is_floating_point())
    for value in (float("nan"), float("inf")):
        torch.save(STATE | {name: torch.full_like(STATE[name], value)}, tmp_path / "bad.pth")
        assert "no finite number in" in refused(tmp_path / "bad.pth")


class Trainer:
    pass


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"args": Options(), "state_dict": STATE}, "test_checkpoint_file.Options"),
        ({"model": Trainer()}, "test_checkpoint_file.Trainer"),
        ({"best": np.array([{"a": 1}], dtype=object), "state_dict": STATE}, "numpy"),
        ({"path": io.StringIO, "state_dict": STATE}, "StringIO"),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_code_is_named(tmp_path, content, named, plain):
    if plain:
        (tmp_path / "code.pth").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / "code.pth")
    line = refused(tmp_path / "code.pth")
    assert "is not a plain state dict (" in line
    assert "no code of it was run" in line
    assert plain or named in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"", "is not a plain state dict"),
        (b"PK\x03\x04 broken", "is not a plain state dict"),
        (b"\x80\x02}q\x00.", "is not a plain state dict"),
        (b"\xff" * 8 + b"{}", "cannot be read"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, words):
    (tmp_path / "a.pth").write_bytes(content)
    assert words in refused(tmp_path / "a.pth")


def test_other_wholes_are_refused_in_a_line(tmp_path):
    assert "is a folder; give a .pth" in refused(tmp_path)
    torch.save({"state_dict": STATE | {"step": 3}}, tmp_path / "mixed.pth")
    assert "holds 'step', a int, among its tensors" in refused(tmp_path / "mixed.pth")
    torch.save(STATE | {f"module.{n}": t for n, t in STATE.items()}, tmp_path / "two.pth")
    assert "twice, two models in one" in refused(tmp_path / "two.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    assert "is not a plain state dict (it is a TorchScript program)" in refused(tmp_path / "script.pt")
    name = next(iter(STATE))
    torch.save(STATE | {name: STATE[name].to(torch.complex64)}, tmp_path / "complex.pth")
    assert "as complex64; give float32 weights" in refused(tmp_path / "complex.pth")


def test_what_is_told_of_a_checkpoint_is_json(tmp_path):
    NET.save(tmp_path / "net.safetensors")
    assert json.dumps(dict(Supernet.load(tmp_path / "net.safetensors", TINY_SPACE).data)) == "{}"


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path):
    tensors = {"weight": torch.arange(6.0)}
    for filling in range(0, 256, 8):
        content = save(tensors, {"about": "x" * filling})
        if content[:1] == b"\x80":
            break
    assert content[:1] == b"\x80"
    (tmp_path / "net.safetensors").write_bytes(content)
    read, _ = read_tensors(tmp_path / "net.safetensors")
    assert torch.equal(read["weight"], tensors["weight"])
