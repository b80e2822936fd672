"""The tutorial's commands, in order and in short forms: a fake device, few blocks, few steps, files that are soon made.

Measuring on this machine, learning from digits and `--verify` are what the demo does, in its own test.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pnag.accuracy.archive import AccuracyArchive
from pnag.space.spaces import load_space
from tests.pnag.commands import MAIN, runner
from tests.pnag.tiny import random_supernet

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(<!-- not run: (?P<why>[^\n]+?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
FILE = re.compile(r"Save as `([^`]+)`:\n\n```toml\n(.*?)^```$", re.M | re.S)
CHECKPOINT = "ofa_mbv3_d234_e346_k357_w1.2"
# What is typed here in the place of what the page says: each is on the page.
SHORT = {
    "--device cpu_tflite": "--device fake.toml",
    " --verify cpu_tflite": "",
    'backend = "litert"': 'backend = "fake"',
    "cpu_tflite.parquet": "fake.parquet",
    "digits.tflite": "digits.onnx",
    ".tflite": ".json",
    "--space ofa-mbv3-w0.25 --resolution 32 --classes 10": "--space mine.toml",
    "lut/photos.parquet\n": "lut/photos.parquet --space mine.toml\n",
    " --calibrate 24 --holdout 12 --max-minutes 2": "",
    "--frontier 3": "--frontier 2",
    "--frontier 5": "--frontier 2",
    "--data digits --epochs 10 --architectures 100": "--accuracy known.csv",
    "--epochs 5": "--epochs 0.1",
}
MEASURING = "--calibrate 6 --holdout 4"
LEARNING = "--architectures 20 --method random"


def commands() -> list[str]:
    """What the page has typed, but for what needs a network or hardware."""
    blocks = [match for match in BLOCK.finditer(PAGE) if not match["kind"] and not match["why"]]
    return [line for match in blocks for line in match["text"].splitlines()]


def shortened(text: str) -> str:
    for said, typed in SHORT.items():
        text = text.replace(said, typed)
    return text


def photographs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


def test_what_is_not_run_needs_a_network_or_hardware():
    assert {match["why"] for match in BLOCK.finditer(PAGE) if match["why"]} == {
        "it installs from the network",
        "it needs a phone",
    }
    assert len(commands()) > 12
    assert not [said for said in SHORT if said not in PAGE]


def test_the_commands_of_the_tutorial_work_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name, text in FILE.findall(PAGE):
        Path(name).write_text(shortened(text), encoding="utf-8")
    Path("fake.toml").write_text('name = "fake"\ntitle = "fake device"\nbackend = "fake"\n', encoding="utf-8")
    photographs(tmp_path / "photos")
    space = load_space("mine.toml")
    tokens = np.unique(space.sample(40, np.random.default_rng(0)), axis=0)
    AccuracyArchive(space, tokens, np.linspace(0.7, 0.8, len(tokens))).save("known.csv")
    random_supernet(space).save(tmp_path / f"{CHECKPOINT}.safetensors")
    (tmp_path / f"{CHECKPOINT}.safetensors").rename(tmp_path / CHECKPOINT)
    for line in commands():
        program, *words = shortened(f"{line}\n").split()
        if program == "pnag-profile" and "--check" not in words and "--list-options" not in words:
            words += MEASURING.split()
        if program == "pnag-train":
            words += LEARNING.split()
        ended = runner(MAIN[program], capsys, monkeypatch)(*words)
        assert ended.code == 0, (line, ended.err)
    names = ("table.png", "digits-*.onnx", "photos-*.json", "mine-*.json", "lut/kiosk.parquet", "lut/*.visits.gz")
    assert not [name for name in names if not list(tmp_path.glob(name))]
