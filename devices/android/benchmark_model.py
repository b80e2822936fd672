"""TensorFlow Lite's benchmark_model: its command line, and its output in every published version.

Times are printed in microseconds, except by LiteRT's variant of the tool, which names its unit.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices.errors import MeasurementError, RuntimeUnavailableError
from devices.numbers import digits

# LiteRT's tool says so in any of its lines, and knows other flags than TensorFlow's.
_LITERT_TOOL = re.compile(r"benchmark_litert_model|litert[/\\]tools|^\s*usage:.*litert", re.IGNORECASE | re.MULTILINE)
# Flags of TensorFlow's tool that LiteRT's lacks, by which it is known before it says anything else.
_TENSORFLOW_FLAGS = frozenset({"use_xnnpack", "gpu_precision_loss_allowed"})
# What an old version may lack without a loss: it then runs on its own default.
OPTIONAL_FLAGS = frozenset({"max_secs", "warmup_min_secs"})
TENSORFLOW, LITERT = "tflite", "litert"

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|[-+]?nan|[-+]?inf"
# 'INFO: ' since 2023, '[file:line] ' from LiteRT, 'I tflite  : ' in a log; 'Timings (microseconds): count=' is
# the op profiler's sum over the operators of a node, and must not match.
_PREFIX = r"(?:(?:INFO|I)\s*(?:tflite\s*)?:\s*)?(?:I\d{4} \S+\s+)?(?:\[[^\]]*\]\s*)?"
_STAT = re.compile(rf"^\s*{_PREFIX}count=(?P<count>{digits()})(?P<rest>(?:\s.*)?)$")
_FIELD = re.compile(rf"(\w+)=({_NUMBER})")
_SUMMARY = re.compile(rf"^\s*{_PREFIX}(?:Average inference timings|Inference timings) in us: (?P<rest>.*)$")
_SUMMARY_FIELD = re.compile(
    rf"(Init|First inference|Warmup(?: \(avg\))?|Inference(?: \(avg\))?|no stats):\s*({_NUMBER})"
)
_LITERT = re.compile(
    rf"^\s*{_PREFIX}(?P<name>Model initialization|Warmup \(first\)|Warmup \(avg\)|Inference \(avg\)):"
    rf"\s+(?P<value>{_NUMBER})\s*(?P<unit>us|ms|s)\b(?:\s*\((?P<runs>{digits()}) runs\))?"
)
_UNIT_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_UNKNOWN_FLAGS = re.compile(
    r"(?:Unconsumed cmdline flags|Unrecognized (?:commandline )?(?:flag|argument)s?):?\s*(?P<flags>.*)$"
)
_BAD_FLAG = re.compile(r"(?:Failed to parse flag|Unknown command line flag)\s*:?\s*(?P<flags>.*)$")
_NO_GPU = re.compile(
    r"Failed to apply \w+ delegate|TfLiteGpuDelegate .*not initialized|will not be executed by the delegate"
    r"|Could not create GPU delegate|GPU delegate (?:creation failed|is not supported)|Can not open OpenCL library.*$",
    re.IGNORECASE,
)
_PARTIALLY = re.compile(r"(?:will be|is|was) partially executed by the delegate|partially delegated", re.IGNORECASE)
_REFUSED_DELEGATE = re.compile(
    r"Failed to (?:apply|create|initialize)\b.*\bdelegate|\w+ delegate (?:creation failed|cannot be created"
    r"|is not supported)|ModifyGraphWithDelegate\b.*(?:fail|error)|delegate .*(?:prepare|apply|init)\w* failed",
    re.IGNORECASE,
)
_PARTLY = re.compile(
    rf"Replacing (?P<some>{digits()}) out of (?P<all>{digits()}) node\(s\) with delegate \((?P<delegate>\w+)\)"
)
_ERROR = re.compile(
    r"^\s*(?:ERROR|E\s+tflite|F\s+\w+|FATAL|CANNOT LINK EXECUTABLE|Aborted|Segmentation fault|Killed)\b.*"
)


class UnknownFlagError(RuntimeUnavailableError):
    """The tool does not know some of the flags. `flags` are their names."""

    def __init__(self, flags: Sequence[str]) -> None:
        super().__init__(
            f"this benchmark_model does not know {', '.join('--' + flag for flag in flags)}; take a newer build of it"
        )
        self.flags = tuple(flags)


class OtherToolError(UnknownFlagError):
    """The tool is LiteRT's, and wants its own flags."""

    def __init__(self, flags: Sequence[str]) -> None:
        super().__init__(flags)
        self.args = ("this benchmark_model is LiteRT's, which takes other flags than TensorFlow's; run it as such",)


class OutputError(MeasurementError):
    """The tool ended well but printed no measurement that can be read."""


@dataclass(frozen=True)
class Statistics:
    """One `count=` line. Times in milliseconds; None where the version does not print them."""

    count: int
    average_ms: float | None = None
    median_ms: float | None = None
    minimum_ms: float | None = None
    maximum_ms: float | None = None
    std_ms: float | None = None
    p95_ms: float | None = None

    @property
    def typical_ms(self) -> float | None:
        """The median, or the mean where there is no median."""
        return self.median_ms if self.median_ms is not None else self.average_ms


@dataclass(frozen=True)
class Report:
    """What one invocation said. `nodes` are (delegated, all) where the tool tells.

    `partly`: the tool says in words that a part only was delegated.
    """

    measured: Statistics
    warmup: Statistics | None = None
    init_ms: float | None = None
    nodes: tuple[int, int] | None = None
    partly: bool = False

    @property
    def partly_delegated(self) -> bool:
        """Whether the delegate took a part of the model only."""
        return self.partly or (self.nodes is not None and self.nodes[0] < self.nodes[1])

    @property
    def latency_ms(self) -> float:
        """The invocation's median, or its mean where the version prints no median."""
        value = self.measured.typical_ms
        assert value is not None  # `parse` lets no other report through
        return value


@dataclass(frozen=True)
class Invocation:
    """One run of the tool: how long, on how many threads, on which delegate (`xnnpack`, `gpu` or `none`)."""

    min_runs: int = 50
    min_time_s: float = 1.0
    max_time_s: float = 150.0
    warmup_runs: int = 1
    warmup_s: float = 0.5
    threads: int = 1
    delegate: str = "xnnpack"
    reduced_precision: bool = False
    tool: str = TENSORFLOW

    def flags(self) -> Mapping[str, str]:
        """The flags without the model. XNNPACK is always explicit: its default differs between versions."""
        if self.tool == LITERT:
            return self._litert_flags()
        flags = {
            **self._flags_of_both(),
            "use_xnnpack": _bool(self.delegate == "xnnpack"),
        }
        if self.delegate == "gpu":
            flags |= {"use_gpu": "true", "gpu_precision_loss_allowed": _bool(self.reduced_precision)}
        return flags

    def _flags_of_both(self) -> Mapping[str, str]:
        """How long and on how many threads: the two tools name these alike."""
        return {
            "num_threads": str(self.threads),
            "num_runs": str(self.min_runs),
            "min_secs": f"{self.min_time_s:g}",
            "max_secs": f"{self.max_time_s:g}",
            "warmup_runs": str(self.warmup_runs),
            "warmup_min_secs": f"{self.warmup_s:g}",
        }

    def _litert_flags(self) -> Mapping[str, str]:
        """LiteRT's names: it chooses an accelerator where TensorFlow's tool applies delegates."""
        return {
            **self._flags_of_both(),
            "use_cpu": _bool(self.delegate != "gpu"),
            "use_gpu": _bool(self.delegate == "gpu"),
        } | ({"allow_fp16": _bool(self.reduced_precision)} if self.delegate == "gpu" else {})


def is_litert(output: str) -> bool:
    """Whether something that a tool printed, its list of flags for instance, shows it to be LiteRT's."""
    flags = "--use_cpu" in output and "--use_xnnpack" not in output
    return flags or _LITERT_TOOL.search(output) is not None


def _bool(value: bool) -> str:
    return "true" if value else "false"


def command_line(
    tool: str, graph: str, how: Invocation, *, mask: int | None = None, without: frozenset[str] = frozenset()
) -> str:
    """The shell command for one run. `mask` pins it to cores, `without` leaves out flags the tool lacks."""
    flags = [f"--graph={graph}"] + [f"--{name}={value}" for name, value in how.flags().items() if name not in without]
    words = ([] if mask is None else ["taskset", f"{mask:x}"]) + [tool, *flags]
    return " ".join(shlex.quote(word) for word in words)


def parse(output: str, status: int = 0, *, delegate: str = "xnnpack", tool: str = TENSORFLOW) -> Report:
    """Read what one invocation printed, any version. The last `count=` line is the measurement.

    Raises `UnknownFlagError` if a flag was not understood (newer versions only warn), `MeasurementError` if
    the run failed or fell back from the GPU, `OutputError` if there is no measurement to be read.
    """
    lines = output.replace("\r", "").split("\n")
    if flags := _unknown_flags(lines):
        if tool == TENSORFLOW and is_litert(output) and set(flags) & _TENSORFLOW_FLAGS:
            raise OtherToolError(flags)
        raise UnknownFlagError(flags)
    if delegate == "gpu" and (refused := next((m for line in lines if (m := _NO_GPU.search(line))), None)):
        raise MeasurementError(
            f"the GPU does not take this model ({printable(refused.group())}); use --delegate xnnpack"
        )
    if status != 0 or any("Benchmarking failed" in line for line in lines):
        if told := next((line for line in lines if _REFUSED_DELEGATE.search(line)), None):
            raise MeasurementError(
                f"benchmark_model cannot use the delegate {delegate} ({printable(told)}); "
                "give --delegate none, or another build of the tool"
            )
        raise MeasurementError(f"benchmark_model failed with status {status}: {_reason(lines)}")
    found = [m for line in lines if (m := _STAT.match(line))]
    stats = [_statistics(m["count"], m["rest"]) for m in found]
    summary = _summary(lines)
    warmup: Statistics | None
    if len(stats) >= 2:
        warmup, measured = stats[-2], stats[-1]
    elif summary is not None:  # one line or none: only the summary tells what was measured
        warmup, measured = (stats[-1] if stats else None), summary
    elif stats:  # every version prints two lines, the warm-up first
        raise OutputError("benchmark_model stopped after its warm-up; run it again")
    else:
        raise OutputError(f"benchmark_model printed no timings; it said: {_reason(lines)}")
    value = measured.typical_ms
    if measured.count == 0 or value is None or not 0 < value < float("inf"):
        raise OutputError(f"benchmark_model measured nothing (count={measured.count}); allow it more time")
    partly = delegate != "none" and any(_PARTIALLY.search(line) for line in lines)
    return Report(measured, warmup, _init_ms(lines), _nodes(lines), partly)


def _unknown_flags(lines: Sequence[str]) -> list[str]:
    names: list[str] = []
    for line in lines:
        match = _UNKNOWN_FLAGS.search(line) or _BAD_FLAG.search(line)
        if match:
            names += [word.lstrip("-").split("=")[0] for word in match["flags"].split() if word.startswith("--")]
            if not names:
                names.append(match["flags"].strip().strip("'\"").lstrip("-").split("=")[0] or "a flag")
    return [printable(name) for name in dict.fromkeys(names)]


def _statistics(count: str, rest: str) -> Statistics:
    us = {name: float(value) for name, value in _FIELD.findall(rest)}
    if "avg" not in us and "curr" in us:  # 'count=1 curr=N' and 'count=9 curr=N(all same)'
        us["avg"] = us["min"] = us["max"] = us["curr"]

    def ms(name: str) -> float | None:
        return us[name] / 1e3 if name in us else None

    return Statistics(int(count), ms("avg"), ms("median"), ms("min"), ms("max"), ms("std"), ms("p95"))


def _summary(lines: Sequence[str]) -> Statistics | None:
    """The measurement according to the summary, whose spelling changed over the years."""
    for line in reversed(lines):
        if match := _SUMMARY.match(line):
            fields = {name: float(value) for name, value in _SUMMARY_FIELD.findall(match["rest"])}
            for name in ("Inference (avg)", "Inference", "no stats"):
                if name in fields:
                    return Statistics(1, fields[name] / 1e3)
        match = _LITERT.match(line)
        if match and match["name"] == "Inference (avg)":
            return Statistics(int(match["runs"] or 1), float(match["value"]) * _UNIT_MS[match["unit"]])
    return None


def _init_ms(lines: Sequence[str]) -> float | None:
    for line in lines:
        if match := _SUMMARY.match(line):
            fields = dict(_SUMMARY_FIELD.findall(match["rest"]))
            if "Init" in fields:
                return float(fields["Init"]) / 1e3
        match = _LITERT.match(line)
        if match and match["name"] == "Model initialization":
            return float(match["value"]) * _UNIT_MS[match["unit"]]
    return None


def _nodes(lines: Sequence[str]) -> tuple[int, int] | None:
    for line in lines:
        if match := _PARTLY.search(line):
            return int(match["some"]), int(match["all"])
    return None


def printable(text: str) -> str:
    """`text` as one line of a message: no control characters, at most 200 long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200] or "nothing"


def _reason(lines: Sequence[str]) -> str:
    """The most telling line of a failed run, at most 200 characters."""
    errors = [line.strip() for line in lines if _ERROR.match(line) and "Benchmarking failed" not in line]
    said = errors or [line.strip() for line in lines if line.strip()]
    return printable(said[-1]) if said else "nothing"
