import json
import os
import pickle
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from lut.errors import OutputError
from pnag.errors import CheckpointError
from pnag.space.spaces import load_space
from pnag.supernet.checkpoint import our_name, published_name
from pnag.supernet.supernet import Supernet
from tests.pnag.supernet.test_supernet import REFERENCE, SMALL_SPACE
from tests.pnag.tiny import TINY_SPACE, random_supernet

FIXTURE = REFERENCE / "state_dict.safetensors"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_saved_is_loaded(tmp_path, suffix):
    net = random_supernet()
    net.data = {"name": "squares", "sha256": "0"}
    net.save(tmp_path / f"net{suffix}")
    again = Supernet.load(tmp_path / f"net{suffix}", TINY_SPACE)
    assert again.sha256() == net.sha256()
    assert again.data == net.data
    assert not again.training


def test_tensors_are_written_under_once_for_alls_names(tmp_path):
    Supernet.load(FIXTURE, SMALL_SPACE).save(tmp_path / "net.safetensors")
    written, published = load_file(tmp_path / "net.safetensors"), load_file(FIXTURE)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[name], published[name]) for name in published)


def test_names_can_be_told_back():
    names = list(random_supernet(SMALL_SPACE).state_dict())
    assert [our_name(published_name(name)) for name in names] == names


SPELLINGS = {
    "mobile_inverted_conv": lambda name: re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name),
    "bn once": lambda name: name.replace(".bn.bn.", ".bn."),
    "conv once": lambda name: name.replace(".conv.conv.weight", ".conv.weight"),
    "linear twice": lambda name: name.replace("classifier.linear.", "classifier.linear.linear."),
    "wrapped by data parallel": lambda name: f"module.{name}",
}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_old_spellings_load(tmp_path, spelling, wrapped):
    state = {SPELLINGS[spelling](name): tensor for name, tensor in load_file(FIXTURE).items()}
    assert len(state) == 475
    torch.save({"state_dict": state, "epoch": 7} if wrapped else state, tmp_path / "old.pth")
    loaded = Supernet.load(tmp_path / "old.pth", SMALL_SPACE)
    assert loaded.sha256() == Supernet.load(FIXTURE, SMALL_SPACE).sha256()


def refused(path, space=SMALL_SPACE):
    with pytest.raises(CheckpointError) as error:
        Supernet.load(path, space)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_names_a_tensor_of_another_width():
    message = refused(FIXTURE, load_space("ofa-mbv3-w1.2", classes=10))
    assert "first_conv" in message
    assert "checkpoint of this width" in message


def test_names_another_number_of_classes():
    message = refused(FIXTURE, load_space("ofa-mbv3-w0.25", classes=1000))
    assert "classifier.linear.weight" in message or "classifier.linear.bias" in message
    assert "1000 classes" in message


def test_names_missing_and_extra_tensors(tmp_path):
    state = load_file(FIXTURE)
    gone = state.pop("blocks.3.conv.depth_conv.bn.bn.weight")
    save_file(state, tmp_path / "less.safetensors")
    assert "lacks blocks.3.conv.depth_conv.bn.bn.weight" in refused(tmp_path / "less.safetensors")
    state |= {"blocks.3.conv.depth_conv.bn.bn.weight": gone, "blocks.21.conv.depth_conv.conv.conv.weight": gone + 0}
    save_file(state, tmp_path / "more.safetensors")
    assert "unknown tensor blocks.21.conv.depth_conv.conv.conv.weight" in refused(tmp_path / "more.safetensors")


class Trap:
    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


def test_a_pickles_code_is_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"state_dict": Trap()}))
    torch.save({"state_dict": Trap()}, tmp_path / "trap2.pth")
    for name in ("trap.pth", "trap2.pth"):
        assert "not a plain state dict" in refused(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_refuses_what_is_no_state_dict(tmp_path):
    torch.save([1, 2, 3], tmp_path / "list.pth")
    assert "list" in refused(tmp_path / "list.pth")
    (tmp_path / "half.safetensors").write_bytes(FIXTURE.read_bytes()[:100_000])
    assert "cannot be read" in refused(tmp_path / "half.safetensors")
    assert "no checkpoint" in refused(tmp_path / "none.pth")


def test_refuses_a_changed_file_of_ours(tmp_path):
    net = random_supernet()
    net.save(tmp_path / "net.pth")
    content = torch.load(tmp_path / "net.pth", weights_only=True)
    content["state_dict"]["classifier.linear.bias"] += 1
    torch.save(content, tmp_path / "net.pth")
    assert "damaged" in refused(tmp_path / "net.pth", TINY_SPACE)
    space = json.loads(content["metadata"]["space"]) | {"width": 0.5}
    content["metadata"]["space"] = json.dumps(space)
    torch.save(content, tmp_path / "net.pth")
    assert "width 0.5" in refused(tmp_path / "net.pth", TINY_SPACE)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, name):
    net = random_supernet()
    net.save(tmp_path / name)
    before = (tmp_path / name).read_bytes()

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        net.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_says_where_it_cannot_write(tmp_path):
    with pytest.raises(CheckpointError, match="unknown suffix"):
        random_supernet().save(tmp_path / "net.bin")
    with pytest.raises(OutputError):
        random_supernet().save("/dev/null/net.pth")
