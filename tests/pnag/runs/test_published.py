"""A predictor that others published, out of their own file: what it says, what is refused, and a run that asks it."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive
from pnag.errors import ArchiveError, RunError
from pnag.generator.generate import Generator
from pnag.runs.pipeline import train_run
from pnag.runs.published import predicted_archive, read_published
from pnag.runs.request import TrainRequest
from pnag.space.spaces import load_space
from profiler.console import Progress
from tests.tables import made_up_table

SPACE = load_space()
GIVEN = Path(__file__).parents[4] / "shared" / "data" / "imagenet" / "predictor.npz"


def state(sizes=(128, 6, 5, 1), seed=0):
    """A state dict in the published layout, linear layers at even places; its values are between 0 and 1 somewhere."""
    rng = torch.Generator().manual_seed(seed)
    out = {}
    for index, (a, b) in enumerate(pairwise(sizes)):
        out[f"{2 * index}.weight"] = 0.1 * torch.randn(b, a, generator=rng)
        out[f"{2 * index}.bias"] = torch.full((b,), 0.3)
    return out


@pytest.fixture
def file(tmp_path):
    torch.save(state(), tmp_path / "acc_predictor.pth")
    return tmp_path / "acc_predictor.pth"


def by_hand(architecture, side):
    x = np.zeros(128)
    for layer, (kernel, expand) in enumerate(zip(architecture.kernels, architecture.expands, strict=True)):
        if kernel:
            x[3 * layer + {3: 0, 5: 1, 7: 2}[kernel]] = x[60 + 3 * layer + {3: 0, 4: 1, 6: 2}[expand]] = 1
    x[120 + (side - 112) // 16] = 1
    layers = {name: tensor.numpy() for name, tensor in state().items()}
    for index in (0, 2, 4):
        x = layers[f"{index}.weight"] @ (np.maximum(x, 0) if index else x) + layers[f"{index}.bias"]
    return x[0]


@pytest.mark.parametrize("side", [160, 224])
def test_it_says_what_its_layers_say(file, side):
    space = SPACE.at(side)
    some = space.sample(5, np.random.default_rng(0))
    wanted = [by_hand(architecture, side) for architecture in space.decode(some)]
    assert read_published(file, space)(some) == pytest.approx(wanted, abs=1e-6)


def test_a_choice_of_resolutions_is_one_more_layer(file):
    free = load_space(resolution=(160, 224))
    some = free.sample(6, np.random.default_rng(0))
    wanted = [by_hand(architecture, architecture.resolution) for architecture in free.decode(some)]
    assert read_published(file, free)(some) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            state((130, 6, 1)),
            r"not once-for-all's predictor: it holds 0.weight \[6, 130\].*give the file with 0.weight",
        ),
        (state((128, 6, 2)), "not once-for-all's predictor"),
        ({"0.weight": torch.zeros(1, 128)}, "not once-for-all's predictor"),
        ({"first.weight": torch.zeros(3)}, r"it holds first.weight \[3\]"),
        ({**state(), "2.bias": torch.full((5,), float("nan"))}, "no finite number in 2.bias"),
        ({"state": Fraction(1, 3)}, "no code of it was run"),
        ({"state": Path("x")}, "holds 'state', a Pure.*Path, among its tensors"),
    ],
)
def test_a_file_of_anything_else_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ArchiveError, match=words):
        read_published(tmp_path / "x.pth", SPACE)


def test_other_spaces_and_resolutions_are_refused(file):
    with pytest.raises(ArchiveError, match=r"ofa-mbv3-w1.2 with width 1.2"):
        read_published(file, load_space("ofa-mbv3-w1.0"))
    with pytest.raises(ArchiveError, match=r"not learnt at 128 pixels.*160, 176, 192, 208, 224"):
        read_published(file, SPACE.at(128))


def test_it_is_asked_in_place_of_a_supernet(tmp_path, file):
    request = TrainRequest(tmp_path / "table.parquet", tmp_path / "run", accuracy=f"once-for-all:{file}")
    with pytest.raises(RunError, match="leave out --supernet"):
        replace(request, supernet=file, data="digits").check()
    with pytest.raises(ArchiveError, match=r"no predictor at gone.pth; give --accuracy once-for-all:acc_predictor.pth"):
        replace(request, accuracy="once-for-all:gone.pth").check()


def test_a_run_keeps_what_it_said_and_answers_with_it(tmp_path, file):
    made_up_table(SPACE).save(tmp_path / "table.parquet")
    request = TrainRequest(
        tmp_path / "table.parquet", tmp_path / "run", accuracy=f"once-for-all:{file}", method="random", architectures=60
    )
    trained = train_run(request, tell=lambda _: None, progress=Progress)
    assert trained is not None
    predictor = read_published(file, SPACE)
    assert len(trained.archive) == 60
    assert trained.archive.accuracy == pytest.approx(np.clip(predictor(trained.archive.tokens), 0, 1))
    assert str(trained.generator.provenance) == "ImageNet, predicted by acc_predictor.pth"
    assert trained.generator.provenance.published is None
    again = Generator.load(tmp_path / "run").evaluator.predictor
    assert again(trained.archive.tokens) == pytest.approx(predictor(trained.archive.tokens))
    assert train_run(request, tell=lambda _: None, progress=Progress) is not None  # and goes on with what is there


@pytest.mark.skipif(not GIVEN.is_file(), reason="the published predictor is not at hand")
def test_the_published_file_says_what_the_archive_holds(tmp_path):
    with np.load(GIVEN) as arrays:
        torch.save({name: torch.as_tensor(arrays[name]) for name in arrays.files}, tmp_path / "acc_predictor.pth")
    predictor = read_published(tmp_path / "acc_predictor.pth", SPACE)
    shipped = AccuracyArchive.load(SHIPPED[DEFAULT], SPACE)
    assert predictor(shipped.tokens) == pytest.approx(shipped.accuracy, abs=1e-5)
    rng = np.random.default_rng(0)
    made = predicted_archive(predictor, tmp_path / "acc_predictor.pth", SPACE.macs_model(), 30, rng)
    assert made.provenance == shipped.provenance
