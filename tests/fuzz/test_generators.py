"""Files of a generator, spoilt in header, arrays and bytes: refused in one line, or they answer within the budget."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnag.accuracy.nearby import Nearby
from pnag.accuracy.network import AccuracyNetwork
from pnag.errors import BudgetError, PnagError
from pnag.generator.generate import FILE_NAME, Generator
from pnag.generator.learning import train_generator
from pnag.generator.sampler import Policy, PolicyWeights
from pnag.runs.kept_images import load_images
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from tests.fuzz.harness import DAMAGE, NO_DAMAGE, bomb, bounded, damaged, fuzz, one_line, spoilt_json_text
from tests.pnag.search.learning_cases import (
    TINY,
    TWO_SIDES,
    archive,
    tiny_costs,
    two_sided_archive,
    two_sided_costs,
)
from tests.pnag.tiny import coloured_squares

METHODS = ("pool", "policy", "two sides")
KINDS = (
    np.int8,
    np.uint8,
    np.int64,
    np.float16,
    np.float32,
    np.float64,
    np.complex64,
    bool,
    "S8",
    "U4",
    "M8[s]",
    ">f8",
    "O",
)
Arrays = dict[str, np.ndarray[Any, Any]]


def policy(space: SearchSpace, costs: CostModel) -> Policy:
    """A network of random weights: what it proposes does not matter here."""
    rng, choices, width, hidden = np.random.default_rng(0), max(space.token_choices), 4, 6

    def weights(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return rng.standard_normal(shape).astype(np.float32)

    drawn = PolicyWeights(
        weights(space.length, choices + 1, width), weights(3, width), weights(width, 4 * hidden),
        weights(width, 4 * hidden), weights(hidden, 4 * hidden), weights(4 * hidden),
        weights(space.length, hidden, choices), weights(space.length, choices),
    )  # fmt: skip
    levels = np.linspace(*costs.range_ms, 5)
    return Policy(space, np.linspace(*costs.range_ms, 3), drawn, levels, levels)


@pytest.fixture(scope="module")
def generators(tmp_path_factory) -> dict[str, tuple[Arrays, dict[str, Any]]]:
    """The arrays of small generators, and their headers."""
    made = {}
    for method in METHODS:
        space, costs = (TWO_SIDES, two_sided_costs()) if method == "two sides" else (TINY, tiny_costs())
        known = two_sided_archive(60) if method == "two sides" else archive(costs, 60)
        generator = train_generator(space, costs, *known, residuals=(0.01, -0.02, 0.005), method="random")
        if method != "pool":
            nearby = Nearby(space, known[0][:9], np.full(9, 0.001), 2.0, 0.5, 0.01)
            evaluator = replace(generator.evaluator, nearby=nearby)
            generator = replace(
                generator,
                evaluator=evaluator,
                proposer=policy(space, costs),
                known=known[0][:5],
                steps=3,
                method="pnag",
            )
        with np.load(generator.save(tmp_path_factory.mktemp("made"))) as file:
            arrays = {name: file[name] for name in file.files}
        made[method] = arrays, json.loads(arrays.pop("header").tobytes())
    return made


@st.composite
def spoilt_arrays(draw: st.DrawFn, arrays: Arrays) -> Arrays:
    """Arrays of which some lack, have another type, shape or values that make no sense."""
    found = dict(arrays)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(found)))
        array, what = found[name].copy(), draw(st.sampled_from(["drop", "type", "shape", "value", "value", "rename"]))
        if what == "drop":
            del found[name]
        elif what == "type":
            with np.errstate(all="ignore"):
                found[name] = array.astype(draw(st.sampled_from(KINDS)))
        elif what == "shape":
            array = np.atleast_1d(array)
            shapes = [
                array[:1],
                array[:0],
                array[..., None],
                array.ravel(),
                array.T,
                np.array(0.5),
                np.concatenate([array] * 2),
            ]
            found[name] = shapes[draw(st.integers(0, len(shapes) - 1))]
        elif what == "rename":
            found[draw(st.sampled_from(["x", "known", "nearby/tokens", "ranking/weight0", "../x", name + "0"]))] = array
        elif array.size:
            value = draw(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e30, -1e30, 100.0]))
            with np.errstate(all="ignore"):
                array.reshape(-1)[draw(st.integers(0, array.size - 1))] = np.array(value).astype(array.dtype)
            found[name] = array
    return found


def write(path: Path, arrays: Arrays, header: bytes, *, packed: bool) -> None:
    buffer = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(buffer, header=np.frombuffer(header, np.uint8), **arrays)
    path.write_bytes(buffer.getvalue())


@fuzz(30)
@given(data=st.data(), method=st.sampled_from(METHODS), packed=st.booleans())
def test_spoilt_generators(generators, tmp_path, data, method, packed):
    arrays, header = generators[method]
    spoil = data.draw(st.sampled_from(["arrays", "header", "bytes"]))
    found = data.draw(spoilt_arrays(arrays)) if spoil == "arrays" else arrays
    text = data.draw(spoilt_json_text(header)) if spoil == "header" else json.dumps(header).encode()
    path = tmp_path / FILE_NAME
    write(path, found, text, packed=packed)
    path.write_bytes(damaged(path.read_bytes(), data.draw(DAMAGE) if spoil == "bytes" else NO_DAMAGE))
    try:
        with bounded():
            generator = Generator.load(tmp_path)
    except PnagError as error:
        one_line(error, FILE_NAME)
        return
    with np.load(path) as plain:
        assert np.array_equal(generator.costs.layer_ms, plain["costs/layer_ms"])
        if "known" in plain.files:
            assert np.array_equal(np.asarray(generator.known), plain["known"])
        says = json.loads(plain["header"].tobytes())
    assert (generator.costs.constant_ms, list(generator.residuals)) == (says["constant_ms"], says["residuals"])
    with bounded():
        answers(generator)


@pytest.mark.parametrize("name", ["steps", "format_version", "residuals", "constant_ms"])
def test_a_header_with_an_endless_number(generators, tmp_path, name):
    arrays, header = generators["policy"]
    write(tmp_path / FILE_NAME, arrays, json.dumps(header | {name: float("inf")}).encode(), packed=False)
    with pytest.raises(PnagError) as caught:
        Generator.load(tmp_path)
    one_line(caught.value, FILE_NAME)


def answers(generator: Generator) -> None:
    """A generator that was read answers any budget, within it."""
    low, high = generator.range_ms
    margin = 1 + generator.margin()
    for budget in (low * margin, (low + high) / 2 * margin, high * margin):
        try:
            found = generator.generate(budget)
        except BudgetError as error:  # of costs that were made negative, or by rounding
            one_line(error)
            continue
        cost_ms = float(generator.costs(generator.space.encode([found.architecture]))[0])
        assert found.cost_ms == pytest.approx(cost_ms)
        assert cost_ms <= found.limit_ms
        assert 0 <= found.accuracy <= 1


def npy(shape: str, kind: str = "<f8") -> bytes:
    """The head of an array's file that claims any shape."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head


BOMBS = {
    "unpacks to 3 GiB": bomb("costs/layer_ms.npy", head=npy(f"({(3 << 30) // 8},)")),
    "says that it is small": bomb("costs/layer_ms.npy", head=npy("(8,)"), claimed=200),
    "says that it is larger": bomb("costs/layer_ms.npy", head=npy(f"({1 << 40},)"), size=1 << 20),
    "of a shape that overflows": bomb("x.npy", head=npy(f"({1 << 32}, {1 << 32})"), size=1 << 20),
    "of a negative shape": bomb("x.npy", head=npy("(-1,)"), size=1 << 20),
    "of objects": bomb("x.npy", head=npy("(1,)", "|O"), size=1 << 20),
    "nested": bomb("x.npy", head=npy("(" * 9000), size=1 << 20),
    "an array alone": npy("(8,)") + bytes(64),
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_unpack_to_more_than_they_are(tmp_path, name):
    for file, read in (
        (FILE_NAME, lambda path: Generator.load(path.parent)),
        ("model.npz", lambda path: AccuracyNetwork.load(path, load_space())),
        ("images.npz", lambda path: load_images(path, coloured_squares(3).normalisation)),
    ):
        path = tmp_path / file
        path.write_bytes(BOMBS[name])
        with bounded(), pytest.raises(PnagError) as caught:
            read(path)
        one_line(caught.value, file)
