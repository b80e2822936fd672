"""Every published version's output is read; nothing else is taken for a measurement."""

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.android.benchmark_model import Invocation, OutputError, UnknownFlagError, command_line, parse
from devices.errors import MeasurementError
from tests.phone import standin

OF_2019 = """STARTING!
Num runs: [50]
Loaded model /data/local/tmp/m.tflite
Initialized session in 1.892ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=6 first=93022 curr=84102 min=83120 max=93022 avg=86184.3 std=3193

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=108164 curr=128308 min=102850 max=197072 avg=115062 std=24368

Average inference timings in us: Warmup: 86184.3, Init: 1892, no stats: 115062
"""
OF_2020 = """Running benchmark for at least 1 iterations and at least 0.5 seconds
count=7 first=85210 curr=82011 min=81990 max=86231 avg=83235 std=1200

count=50 first=80164 curr=79308 min=78850 max=81072 avg=79760.9 std=368

Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9
"""
OF_2021 = """count=35 first=18535 curr=14210 min=14100 max=18535 avg=14462.3 std=700

count=69 first=14635 curr=14510 min=14400 max=15072 avg=14575.2 std=110

Inference timings in us: Init: 5685, First inference: 18535, Warmup (avg): 14462.3, Inference (avg): 14575.2
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
Peak memory footprint (MB): init=4.92969 overall=138.809
"""
OF_2025 = """INFO: STARTING!
VERBOSE: Replacing 60 out of 66 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 4 partitions.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 p5=1238753 \
median=1239807 p95=1247415

INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, \
Inference (avg): 1.24027e+06
"""
OF_LITERT = """INFO: [./litert/tools/benchmark_litert_model.h:73] Model initialization: 3.65 ms
INFO: [./litert/tools/benchmark_litert_model.h:75] Warmup (first):      1.35 ms
INFO: [./litert/tools/benchmark_litert_model.h:77] Warmup (avg):      1.05 ms (480 runs)
INFO: [./litert/tools/benchmark_litert_model.h:79] Inference (avg):      0.95 ms (1054 runs)
"""


@pytest.mark.parametrize(
    ("output", "latency_ms", "count", "init_ms"),
    [
        (OF_2019, 115.062, 50, 1.892),
        (OF_2020, 79.7609, 50, 38.467),
        (OF_2021, 14.5752, 69, 5.685),
        (OF_2025, 1239.807, 50, 5.579),
        (OF_LITERT, 0.95, 1054, 3.65),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_each_version_is_read(output: str, latency_ms: float, count: int, init_ms: float, ending: str) -> None:
    report = parse(output.replace("\n", ending))
    assert report.latency_ms == pytest.approx(latency_ms, rel=1e-12)
    assert report.measured.count == count
    assert report.init_ms == pytest.approx(init_ms)


def test_the_median_goes_before_the_mean() -> None:
    report = parse("count=1 curr=9\ncount=3 first=10 curr=40 min=10 max=40 avg=20 std=14 p5=10 median=11 p95=40\n")
    assert report.latency_ms == pytest.approx(0.011)
    assert report.measured.p95_ms == pytest.approx(0.04)


def test_the_last_line_is_the_measurement_and_the_one_before_the_warm_up() -> None:
    report = parse(OF_2021)
    assert report.warmup is not None
    assert report.warmup.typical_ms == pytest.approx(14.4623)


def test_equal_times_are_printed_without_statistics() -> None:
    report = parse("count=1 curr=1041765\n\ncount=9 curr=7(all same)\n")
    assert (report.latency_ms, report.measured.count) == (pytest.approx(0.007), 9)


def test_a_mean_may_be_in_exponential_notation() -> None:
    assert parse("count=1 curr=1\ncount=2 first=1 curr=2 min=1 max=2 avg=1.04176e+06 std=9\n").latency_ms == 1041.76


def test_the_operator_profilers_sums_are_not_measurements() -> None:
    profiler = "Timings (microseconds): count=50 first=1 curr=1 min=1 max=1 avg=1 std=0\n"
    assert parse(OF_2021 + profiler).latency_ms == pytest.approx(14.5752)


def test_partly_delegated_graphs_are_told() -> None:
    assert parse(OF_2025).nodes == (60, 66)


@pytest.mark.parametrize("output", ["", "nonsense\ncount=\ncount=x\n", "Timings (microseconds): count=5 avg=3\n"])
def test_output_without_timings_is_an_error(output: str) -> None:
    with pytest.raises(OutputError, match="printed no timings"):
        parse(output)


@pytest.mark.parametrize("line", ["count=0", "count=3 first=0 curr=0 min=0 max=0 avg=nan std=0", "count=2 avg=0"])
def test_an_empty_measurement_is_an_error(line: str) -> None:
    with pytest.raises(OutputError, match="measured nothing"):
        parse(f"count=1 curr=5\n{line}\n")


def test_output_that_ends_after_the_warm_up_is_an_error() -> None:
    with pytest.raises(OutputError, match="stopped after its warm-up"):
        parse("count=6 first=93022 curr=84102 min=83120 max=93022 avg=86184.3 std=3193\n")


@pytest.mark.parametrize("prefix", ["WARN: ", "", "WARNING: "])
def test_a_warning_about_an_unknown_flag_is_an_error(prefix: str) -> None:
    with pytest.raises(UnknownFlagError, match=r"--use_xnnpack, --max_secs.*newer build") as error:
        parse(f"{prefix}Unconsumed cmdline flags: --use_xnnpack=true --max_secs=9\n" + OF_2021)
    assert error.value.flags == ("use_xnnpack", "max_secs")


def test_a_flag_that_cannot_be_parsed_is_an_error() -> None:
    with pytest.raises(UnknownFlagError, match="--num_runs"):
        parse("ERROR: Failed to parse flag 'num_runs'\n", 1)


def test_a_failed_run_says_why() -> None:
    with pytest.raises(MeasurementError, match=r"status 1: ERROR: Failed to mmap model /x\.tflite"):
        parse("ERROR: Failed to mmap model /x.tflite\nERROR: Benchmarking failed.\n", 1)


def test_a_failure_with_status_zero_is_a_failure() -> None:
    with pytest.raises(MeasurementError, match="failed"):
        parse(OF_2021 + "ERROR: Benchmarking failed.\n", 0)


def test_a_model_that_falls_back_from_the_gpu_is_refused() -> None:
    output = "WARN: Failed to apply GPU delegate.\n" + OF_2021
    with pytest.raises(MeasurementError, match="GPU does not take this model"):
        parse(output, delegate="gpu")
    assert parse(output).latency_ms > 0


@given(
    st.lists(st.integers(min_value=1, max_value=10**8), min_size=1, max_size=60),
    st.lists(st.integers(min_value=1, max_value=10**8), min_size=1, max_size=60),
    st.sampled_from([2019, 2020, 2021, 2023, 2025]),
)
def test_whatever_times_are_printed_are_read_back(warmup: list[int], times: list[int], year: int) -> None:
    lines = [standin.statistics_line(us, year) for us in (warmup, times)]
    prefix = "INFO: " if year >= 2023 else ""
    means = [sum(us) / len(us) for us in (warmup, times)]
    closing = standin.summary(year, 1, warmup[0], *means)
    report = parse("\n".join(prefix + line for line in [*lines, *closing]) + "\n")
    expected_us = sorted(times)[len(times) // 2] if year >= 2025 else means[1]
    assert report.latency_ms == pytest.approx(expected_us / 1e3, rel=1e-5)
    assert report.measured.count == len(times)


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_output_whatever_breaks_the_reader(output: str) -> None:
    with pytest.raises((MeasurementError, UnknownFlagError)) as raised:  # no text of this kind is a measurement
        parse(output)
    assert len(str(raised.value).splitlines()) == 1


def test_xnnpack_is_always_explicit_and_the_mask_pins() -> None:
    line = command_line("/t/benchmark_model", "/m.tflite", Invocation(threads=2, warmup_s=0.1), mask=0xC)
    assert line.startswith("taskset c /t/benchmark_model --graph=/m.tflite --num_threads=2 ")
    assert "--use_xnnpack=true" in line
    assert "--warmup_min_secs=0.1" in line
    assert "--use_xnnpack=false" in command_line("t", "m", Invocation(delegate="none"))


def test_the_gpu_is_used_without_xnnpack() -> None:
    words = command_line("t", "m", Invocation(delegate="gpu", reduced_precision=True)).split()
    assert {"--use_gpu=true", "--use_xnnpack=false", "--gpu_precision_loss_allowed=true"} <= set(words)


def test_flags_that_a_version_lacks_are_left_out() -> None:
    assert "max_secs" not in command_line("t", "m", Invocation(), without=frozenset({"max_secs"}))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_path_survives_the_command_line(path: str) -> None:
    assert shlex.split(command_line(path, path, Invocation()))[:2] == [path, f"--graph={path}"]


def test_the_stand_in_needs_nothing_but_the_standard_library() -> None:
    source = Path(standin.__file__).read_text()
    top = [line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert set(top) <= sys.stdlib_module_names
