"""Inputs at random: each is read, or refused in one line. No traceback, no hang, no number that was not there.

A minute or less here; `PNAG_FUZZ_EXAMPLES=20000 pytest tests/test_fuzz.py` goes on for as long as you like. What once
failed stays as an `@example`.
"""

import os
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from devices import DeviceError, load_spec
from devices.android import benchmark_model
from devices.android.identity import CPU, choose_cores, parse_identity
from devices.android.state import THERMAL, parse_reading
from lut.errors import LutError
from lut.formats.csvfile import read_csv
from lut.formats.means import read_means_json, read_means_yaml
from lut.table import LatencyTable
from pnag.errors import PnagError
from pnag.supernet.checkpoint_file import as_float32, read_tensors
from profiler.errors import ProfilerError
from profiler.measure.journal import Journal
from tests.tables import made_up_table

FUZZ = settings(
    max_examples=int(os.environ.get("PNAG_FUZZ_EXAMPLES", "60")),
    deadline=10_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
OURS = (DeviceError, LutError, PnagError, ProfilerError)
# Text in which a grammar's own pieces are frequent, whole files are rare, and anything may stand.
SIGNS = [*"=:[]{},\"'#&*!|>?-%@`\n\r\t", "count=", " avg=", " median=", "us: ", " ms", "1e9", "nan", "inf", "-1", "0"]
WHOLE = [
    "count=5 first=9 curr=9 min=8 max=9 avg=9 std=1\n",
    "Inference (avg): 1.2 ms (3 runs)\n",
    "mean: 1\n",
    "[ro.product.cpu.abi]: [arm64-v8a]\n",
    "__section ",
    "__section clocks\n",
    "0-3\n",
    f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq:1000\n",
    f"{THERMAL}/thermal_zone0/temp:41\n",
    "level: 84\n",
    "block,latency_ms\n",
    "name = ",
    'title = "x"\n',
    'backend = "fake"\n',
    "[options]\n",
    "[match]\n",
]
PIECES = st.one_of(
    st.sampled_from([*SIGNS, *WHOLE]),
    st.text(max_size=12),
    st.text(string.printable, max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def one_line(error: Exception) -> None:
    line = str(error)
    assert "\n" not in line
    assert line.strip()
    assert len(line) < 2000


@FUZZ
@given(TEXTS, st.integers(0, 255), st.sampled_from(["xnnpack", "gpu", "none"]))
@example("WARN: Unconsumed cmdline flags: --use_xnnpack=true\nlitert/tools\n", 0, "xnnpack")
def test_what_a_tool_prints(text, status, delegate):
    try:
        report = benchmark_model.parse(text, status, delegate=delegate)
    except DeviceError as error:
        one_line(error)
    else:
        assert 0 < report.latency_ms < float("inf")


@FUZZ
@given(TEXTS, TEXTS)
@example("", "0-999999999999\n")
def test_what_a_phone_says_of_itself(before, after):
    reading = parse_reading(before + after)
    assert reading.cpu_c is None or 1 <= reading.cpu_c <= 130
    sections = "".join(f"\n__section {name}\n{after}" for name in (
        "cpuinfo", "soc_id", "clocks", "present", "online", "governors", "kernel"))  # fmt: skip
    try:
        phone = parse_identity(before + "\n[ro.product.cpu.abi]: [arm64-v8a]\n" + sections)
        assert choose_cores(phone, 1, None)
        assert phone.info().model
    except DeviceError as error:
        one_line(error)


@FUZZ
@given(TEXTS)
@example("a: &a [x]\nb: [*a, *a]")
@example("? [a]\n: 1")
@example("a: {mean: 2001-99-99}")
def test_tables_as_text(text):
    for read in (read_means_yaml, read_means_json, lambda text: read_csv(text, ["a", "b"])):
        try:
            assert all(0 < ms < float("inf") for ms in read(text).values())
        except LutError as error:
            one_line(error)


@FUZZ
@given(TEXTS, st.binary(max_size=40))
def test_specs_of_ones_own(text, raw):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.toml"
        for content in (text.encode("utf-8", "surrogatepass"), raw, b'name="a"\ntitle="b"\nbackend="fake"\n' + raw):
            path.write_bytes(content)
            try:
                assert load_spec(str(path)).name
            except DeviceError as error:
                one_line(error)


def damaged(content: bytes, places: list[tuple[int, int]], cut: int) -> bytes:
    out = bytearray(content)
    for place, value in places:
        out[place % len(out)] = value
    return bytes(out[: len(out) - cut % len(out)]) if cut else bytes(out)


DAMAGE = (st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=6), st.integers(0, 1 << 16))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    made_up_table().save(path)
    return path, path.read_bytes(), made_up_table().content_sha256


@FUZZ
@given(places=DAMAGE[0], cut=DAMAGE[1])
def test_damaged_tables(table, places, cut):
    path, content, sha256 = table
    path.write_bytes(damaged(content, places, cut))
    try:
        assert LatencyTable.load(path).content_sha256 == sha256
    except LutError as error:
        one_line(error)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("checkpoint")
    state = {"a.weight": torch.ones(3, 2), "a.count": torch.tensor(3)}
    torch.save({"state_dict": state}, folder / "a.pth")
    torch.save(state, folder / "b.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "c.safetensors")
    return {path: path.read_bytes() for path in sorted(folder.iterdir())}


@FUZZ
@given(places=DAMAGE[0], cut=DAMAGE[1])
def test_damaged_checkpoints(checkpoints, places, cut):
    for path, content in checkpoints.items():
        path.write_bytes(damaged(content, places, cut))
        try:
            as_float32(path, read_tensors(path)[0])
        except PnagError as error:
            one_line(error)


@FUZZ
@given(st.binary(max_size=200), TEXTS)
def test_journals(raw, text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.journal"
        for content in (raw, text.encode("utf-8", "surrogatepass") + b"\n", b'{"journal": 1}\n' + raw + b"\n"):
            path.write_bytes(content)
            try:
                with Journal(path, "x"):
                    pass
            except OURS as error:
                one_line(error)
