"""Texts of people, tools, phones and this machine: specs, spaces, tables, outputs, listings."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from devices import DeviceError, load_spec
from devices.android import benchmark_model
from devices.android.adb.files import free_bytes
from devices.android.adb.transport import Address
from devices.android.identity import CPU, choose_cores, parse_identity
from devices.android.state import THERMAL, parse_reading
from devices.android.tool import find_tool
from devices.host import allowance, computer
from lut.errors import LutError
from lut.exchange import import_table, resolutions_in
from lut.formats.csvfile import read_csv, write_csv
from lut.formats.means import read_means_json, read_means_yaml
from lut.formats.once_for_all import ofa_parts, write_ofa
from pnag.delivery.frontier import frontier_points
from pnag.delivery.limits import parse_count, parse_size
from pnag.errors import PnagError
from pnag.space.architecture import Architecture
from pnag.space.budget import parse_budget
from pnag.space.spaces import parse_resolutions, read_space
from profiler.measure.stopping import read_stop
from tests.devices.android.test_benchmark_model import OF_2019, OF_2021, OF_2025, OF_LITERT
from tests.fuzz.harness import DAMAGE, OURS, bounded, damaged, fuzz, one_line, spoilt_text, texts
from tests.tables import TINY, made_up_metadata

ROOT = Path(__file__).parents[2]


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# -- what a tool prints -------------------------------------------------------------------------------------

OUTPUTS = [OF_2019, OF_2021, OF_2025, OF_LITERT, OF_LITERT + "WARN: Unconsumed cmdline flags: --use_xnnpack=true\n"]
TOOL_TEXTS = st.one_of(
    st.sampled_from(OUTPUTS).flatmap(spoilt_text),
    texts("count=5 first=9 curr=9 min=8 max=9 avg=9 std=1\n", "Inference (avg): 1.2 ms (3 runs)\n", "ERROR: "),
)


@fuzz(40)
@given(TOOL_TEXTS, st.sampled_from([0, 0, 0, 1, 139, 255]), st.sampled_from(["xnnpack", "gpu", "none"]))
@example("WARN: Unconsumed cmdline flags: --use_xnnpack=true\nlitert/tools\n", 0, "xnnpack")
@example("count=" + "9" * 5000 + " avg=1\n", 0, "none")
def test_what_a_tool_prints(text, status, delegate):
    try:
        with bounded():
            report = benchmark_model.parse(text, status, delegate=delegate)
    except DeviceError as error:
        one_line(error)
        return
    assert 0 < report.latency_ms < float("inf")
    said = {float(word) for word in re.findall(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", text)}
    assert any(report.latency_ms == pytest.approx(value * unit, rel=1e-9) for value in said for unit in (1e-3, 1, 1e3))


# -- what a phone says of itself ----------------------------------------------------------------------------

PHONE = f"""[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
[ro.build.version.sdk]: [30]
[ro.product.model]: [Pixel]
__section cpuinfo
processor\t: 0
processor\t: 1
Hardware\t: Qualcomm Technologies, Inc MSM8996pro
__section soc_id
305
__section clocks
{CPU}/cpu0/cpufreq/cpuinfo_max_freq:1593600
{CPU}/cpu1/cpufreq/cpuinfo_max_freq:2342400
__section present
0-3
__section online
0-1,3
__section governors
{CPU}/cpu0/cpufreq/scaling_governor:schedutil
__section kernel
3.18.137
"""
STATE = f"""__section now
{CPU}/cpu0/cpufreq/scaling_cur_freq:1593600
__section cap
{CPU}/cpu0/cpufreq/scaling_max_freq:1593600
__section governor
{CPU}/cpu0/cpufreq/scaling_governor:schedutil
__section zones
{THERMAL}/thermal_zone0/type:cpu-0-0
{THERMAL}/thermal_zone0/temp:41000
{THERMAL}/thermal_zone1/type:battery
{THERMAL}/thermal_zone1/temp:84
__section load
0.50 0.40 0.30 2/300 4000
__section battery
  AC powered: false
  USB powered: true
  level: 84
  temperature: 301
__section thermal
Thermal Status: 0
Current temperatures from HAL:
\tTemperature{{mValue=41.2, mType=0, mName=CPU0, mStatus=0}}
\tTemperature{{mValue=33.5, mType=3, mName=skin, mStatus=0}}
Current cooling devices from HAL:
"""


@fuzz(40)
@given(st.one_of(spoilt_text(PHONE), texts(PHONE, "__section clocks\n", "[ro.product.cpu.abi]: [x]\n", "0-3\n")))
@example(PHONE.replace("0-1,3", "0-999999999999"))
@example(PHONE.replace("0-3", "0-9999"))
@example(PHONE.replace("1593600", "9" * 400))
@example(PHONE.replace("[30]", f"[{'9' * 5000}]"))
def test_what_a_phone_says_of_itself(text):
    try:
        with bounded():
            phone = parse_identity(text)
            assert choose_cores(phone, 1, None)
            about = phone.info()
            choose_cores(phone, 1, "0-1")
    except DeviceError as error:
        one_line(error)
        return
    assert about.model
    json.dumps(dict(about.fields), allow_nan=False)
    assert all(mhz is None or 0 <= mhz < 1e6 for mhz in about.fields["core_max_mhz"])


@fuzz(40)
@given(
    st.one_of(
        spoilt_text(STATE), texts(STATE, "__section zones\n", f"{THERMAL}/thermal_zone0/temp:41\n", "level: 84\n")
    )
)
@example(STATE.replace("41.2", "1.2.3"))
@example(STATE.replace("301", "9" * 5000))
@example(STATE.replace("2/300", "9" * 400 + "/300"))
def test_how_a_phone_is(text):
    with bounded():
        state = parse_reading(text).state((0, 1), {0: 1593.6}, 4)
    details = json.loads(json.dumps(dict(state.details), allow_nan=False))
    assert all(1 <= details[name] <= 130 for name in ("skin_c", "cpu_c") if name in details)
    assert state.temperature_c is None or -40 <= state.temperature_c <= 130
    assert state.load is None or 0 <= state.load < 1e16


@fuzz()
@given(texts("Filesystem 1K-blocks Used Available Use% Mounted on\n", "/dev/block 100 50 50 50% /data\n"))
@example("9" * 5000)
@example("-" + "9" * 5000)
def test_free_space_and_addresses(text):
    found = free_bytes(text)
    assert found is None or found >= 0
    words_of_people = (parse_resolutions, parse_budget, computer.parse_cores, parse_size, count, stop_rule, frontier)
    for parse in (Address.parse, Architecture.parse, *words_of_people):
        try:
            with bounded():
                parse(text)
        except OURS as error:
            one_line(error)


def count(text: str) -> None:
    parse_count(text, "--max-params")


def stop_rule(text: str) -> None:
    read_stop(f"settled,patience={text}")


def frontier(text: str) -> None:
    frontier_points([text])


# -- what this machine says of itself -----------------------------------------------------------------------

CPUINFO = (
    "processor\t: 0\nmodel name\t: Intel i5\ncpu MHz\t\t: 2400.000\nflags\t\t: sse hypervisor\n\nprocessor\t: 1\n\n"
)
HOST = {
    "/proc/cpuinfo": CPUINFO, "/proc/meminfo": "MemTotal:       16000000 kB\n",
    "/proc/stat": "cpu  1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\nprocs_running 2\n", "scaling_cur_freq": "2400000",
}  # fmt: skip


@fuzz()
@given(spoilt=st.sampled_from(sorted(HOST)).flatmap(lambda name: st.tuples(st.just(name), spoilt_text(HOST[name]))))
@example(("scaling_cur_freq", "9" * 5000))
@example(("/proc/cpuinfo", CPUINFO.replace(": 1", ": ²")))
def test_what_this_machine_says_of_itself(monkeypatch, spoilt):
    said = {**HOST, spoilt[0]: spoilt[1]}
    answer = lambda path: next((text for name, text in said.items() if str(path).endswith(name)), None)  # noqa: E731
    with monkeypatch.context() as patch, bounded():
        patch.setattr(computer, "_read", answer)
        about, state = computer.describe_host((0,)), computer.host_state((0,))
        computer._busy_ticks()
    json.dumps(dict(about.fields), allow_nan=False)
    assert state.clock_mhz is None or 0 <= state.clock_mhz < float("inf")


@fuzz()
@given(st.one_of(spoilt_text("200000 100000"), texts("max 100000\n")))
def test_what_a_container_may_use(tmp_path, text):
    (tmp_path / "cpu.max").write_bytes(encoded(text))
    with bounded():
        found = allowance._numbers(tmp_path / "cpu.max", 2)
    words = text.split("\n")[0].split()[:2]
    assert found in ((), tuple(int(word) for word in words if re.fullmatch(r"-?\d{1,20}", word)))


# -- tables of others ---------------------------------------------------------------------------------------

BLOCKS = tuple(TINY.blocks())
COSTS = {block.key: 0.25 + i / 8 for i, block in enumerate(BLOCKS)}
CSV, YAML = write_csv(COSTS), write_ofa(COSTS, BLOCKS)
JSON = json.dumps(
    {part.key: {"mean": COSTS[block.key] * part.share} for block in BLOCKS for part in ofa_parts(block)}, indent=1
)


@fuzz(30)
@given(data=st.data(), suffix=st.sampled_from([".csv", ".yaml", ".json"]))
def test_tables_of_others(tmp_path, data, suffix):
    valid = {".csv": CSV, ".yaml": YAML, ".json": JSON}[suffix]
    path = tmp_path / f"theirs{suffix}"
    text = data.draw(
        st.one_of(spoilt_text(valid), spoilt_text(valid), texts("a: &a [x]\n", "block,latency_ms\n", "mean: 1\n"))
    )
    path.write_bytes(damaged(encoded(text), data.draw(DAMAGE)) if data.draw(st.integers(0, 3)) == 0 else encoded(text))
    try:
        with bounded():
            resolutions_in([path])
            found = import_table(path, BLOCKS, made_up_metadata(TINY))
    except LutError as error:
        one_line(error, path.name)
        return
    plain = plainly_read(path, suffix)
    for entry in found.table.entries:
        assert entry.latency_ms == pytest.approx(plain[entry.block], rel=1e-12)


def plainly_read(path: Path, suffix: str) -> dict[str, float]:
    text = path.read_bytes().decode("utf-8-sig")
    if suffix == ".csv":
        rows = csv.reader(io.StringIO(text, newline=""))
        return {row[0].strip(): float(row[1]) for row in list(rows)[1:] if row}
    means = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    sums = {block.key: [means.get(part.key) for part in ofa_parts(block)] for block in BLOCKS}
    return {key: sum(float(part["mean"]) for part in parts) for key, parts in sums.items() if all(parts)}


@fuzz()
@given(texts("a: {mean: 1}\n", "block,latency_ms\n", '{"a": {"mean": 1}}'))
@example("a: &a [x]\nb: [*a, *a]")
@example("? [a]\n: 1")
@example("a: {mean: 2001-99-99}")
@example("[" * 100_000)
@example('{"a":' * 100_000)
def test_tables_as_text(text):
    for read in (read_means_yaml, read_means_json, lambda text: read_csv(text, ["a", "b"])):
        try:
            with bounded():
                assert all(0 < ms < float("inf") for ms in read(text).values())
        except LutError as error:
            one_line(error)


# -- TOML of people -----------------------------------------------------------------------------------------

SPEC = """name = "mine"
title = "my machine"
backend = "fake"
threads = 1
[match]
cpu_model = "i5"
[sampling]
rounds = 3
"""
SPACE = (ROOT / "examples/add_a_space/half.toml").read_text(encoding="utf-8")
TOML_PIECES = texts("name = ", 'title = "x"\n', 'backend = "fake"\n', "[options]\n", "[match]\n")


@fuzz(30)
@given(st.one_of(spoilt_text(SPEC).map(encoded), TOML_PIECES.map(encoded), st.binary(max_size=40)))
@example(b'name="a"\ntitle="b"\nbackend="fake"\nx = ' + b"[" * 3000)
def test_specs_of_ones_own(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    try:
        with bounded():
            spec = load_spec(str(path))
            assert spec.name
            assert isinstance(spec.threads, int)
    except DeviceError as error:
        one_line(error, "mine.toml")


@fuzz(30)
@given(st.one_of(spoilt_text(SPACE).map(encoded), TOML_PIECES.map(encoded), st.binary(max_size=40)))
@example(SPACE.replace("depths = [2, 3]", "depths = [2, 4096]").encode())
@example(SPACE.replace("kernels = [3, 5, 7]", f"kernels = {list(range(1, 400, 2))}").encode())
@example(SPACE.replace("width = 0.5", "width = nan").encode())
@example(f"{SPACE}\n{'9' * 5000} = 1".encode())
def test_spaces_of_ones_own(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    try:
        with bounded():
            space = read_space(path)
            blocks = space.blocks()
            low, high = space.macs_model().range_ms
    except PnagError as error:
        one_line(error, "mine.toml")
        return
    assert blocks
    assert 0 < low <= high
    assert type(space).from_dict(json.loads(json.dumps(space.to_dict()))) == space


@fuzz()
@given(st.one_of(spoilt_text('benchmark_model = "/no/tool"\n'), TOML_PIECES))
@example("benchmark_model = 3\n")
@example("benchmark_model = " + "[" * 3000)
@example('benchmark_model = "\\u0000"\n')
def test_a_users_configuration(tmp_path, monkeypatch, text):
    assume("\ud800" not in text)
    (tmp_path / "pnag").mkdir(exist_ok=True)
    (tmp_path / "pnag" / "config.toml").write_bytes(encoded(text))
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        with bounded(), pytest.raises(DeviceError) as caught:
            find_tool(None)
    one_line(caught.value)


@pytest.mark.parametrize("output", OUTPUTS[:4])
def test_what_is_spoilt_here_is_read_when_it_is_whole(output):
    assert benchmark_model.parse(output).latency_ms > 0
    assert parse_identity(PHONE).max_mhz == {0: 1593.6, 1: 2342.4}
    state = parse_reading(STATE).state((0, 1), {0: 1593.6}, 4)
    assert (state.temperature_c, state.clock_mhz, state.load) == (30.1, 1593.6, 0.25)
