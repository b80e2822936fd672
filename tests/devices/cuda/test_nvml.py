"""NVML read through a library that answers as a card would, or does not answer."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.cuda import nvml
from devices.cuda.nvml import Nvml, foreign_processes, is_throttled, reason_names


class NotSupportedError(Exception):
    """What every question to a card may raise."""


class Library:
    """The part of pynvml that is used; a question that is missing in `answers` is not supported."""

    NVMLError = NotSupportedError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetHandleByUUID": lambda uuid: self._known(uuid == "GPU-1234", "by uuid"),
            "nvmlDeviceGetHandleByPciBusId": lambda address: self._known(address == "00000000:3B:00.0", "by address"),
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": "the only one",
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetClockInfo": lambda handle, kind: {1: 1410, 2: 1215}[kind],
            "nvmlDeviceGetMaxClockInfo": lambda handle, kind: {1: 1410, 2: 1215}[kind],
            "nvmlDeviceGetPowerUsage": 212_345,
            "nvmlDeviceGetEnforcedPowerLimit": 400_000,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4,
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlDeviceGetPersistenceMode": 1,
            "nvmlDeviceGetEccMode": [1, 1],
            "nvmlSystemGetDriverVersion": b"580.65.06",
            "nvmlDeviceGetName": "NVIDIA A100",
        } | answers
        self.asked: list[str] = []

    def _known(self, right: bool, handle: str) -> str:
        if not right:
            raise NotSupportedError("Not Found")
        return handle

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def ask(*arguments: Any) -> Any:
            self.asked.append(name)
            answer = self.answers.get(name, NotSupportedError("Not Supported"))
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return ask


def opened(**answers: Any) -> tuple[Nvml, Library]:
    library = Library(**answers)
    found, why_not = Nvml.open("GPU-1234", library=library, own_process=100)
    assert found is not None, why_not
    return found, library


def processes(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=1 << 20) for pid in pids]


def test_a_card_tells_its_state() -> None:
    state = opened()[0].state()
    assert (state.temperature_c, state.clock_mhz, state.throttled) == (61.0, 1410.0, False)
    assert state.details == {
        "memory_clock_mhz": 1215.0,
        "power_w": 212.345,
        "clock_reasons": ["sw_power_cap"],
        "other_processes": 0,
    }


def test_a_card_tells_what_does_not_change() -> None:
    assert opened()[0].name() == "NVIDIA A100"
    assert opened()[0].describe() == {
        "driver": "580.65.06",
        "max_sm_clock_mhz": 1410.0,
        "max_memory_clock_mhz": 1215.0,
        "power_limit_w": 400.0,
        "persistence_mode": True,
        "ecc": True,
    }


def test_a_card_that_answers_nothing_is_unknown_and_no_error() -> None:
    silent = {name: NotSupportedError() for name in Library().answers if name.startswith(("nvmlDeviceGet", "nvmlSys"))}
    silent.pop("nvmlDeviceGetHandleByUUID")
    found, _ = opened(**silent)
    state = found.state()
    assert (state.temperature_c, state.clock_mhz, state.throttled, state.details) == (None, None, False, {})
    assert found.describe() == {}


def test_an_older_driver_or_binding_is_asked_by_the_older_name() -> None:
    found, _ = opened(
        nvmlDeviceGetCurrentClocksEventReasons=AttributeError(), nvmlDeviceGetCurrentClocksThrottleReasons=0x40
    )
    state = found.state()
    assert state.details["clock_reasons"] == ["hw_thermal_slowdown"]
    assert state.throttled


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0, ()),
        (0x1, ("gpu_idle",)),
        (0x24, ("sw_power_cap", "sw_thermal_slowdown")),
        (0x8000, ("0x8000",)),
        (0x1008, ("hw_slowdown", "0x1000")),
    ],
)
def test_reasons_are_named_and_new_ones_kept(bits: int, names: tuple[str, ...]) -> None:
    assert reason_names(bits) == names


@pytest.mark.parametrize(
    ("reasons", "clock", "throttled"),
    [
        ((), 300.0, False),
        (("gpu_idle",), 210.0, False),
        (("applications_clocks_setting",), 1005.0, False),
        (("sw_power_cap",), 1300.0, False),
        (("sw_power_cap",), 900.0, True),
        (("sw_power_cap", "gpu_idle"), 210.0, False),
        (("sw_power_cap",), None, False),
        (("sw_thermal_slowdown",), 1400.0, True),
        (("hw_slowdown",), 1400.0, True),
        (("hw_power_brake_slowdown",), None, True),
    ],
)
def test_heat_and_brakes_throttle_and_a_power_cap_only_far_below_the_clock(
    reasons: tuple[str, ...], clock: float | None, throttled: bool
) -> None:
    assert is_throttled(reasons, clock, 1410.0) is throttled


@pytest.mark.parametrize(
    ("now", "before", "others"),
    [
        (None, (), None),
        ((100,), (), set()),
        ((100, 7), (7,), {7}),
        ((100, 7, 8), (), {7, 8}),
        ((9001,), (), set()),  # in a container we have a number of the host's
        ((9001, 7), (7,), {7}),
        ((7,), (7,), {7}),
        ((7, 8), (), {7, 8}),
        ((), (), set()),
    ],
)
def test_other_processes_are_told_from_ours(now: Any, before: tuple[int, ...], others: Any) -> None:
    assert foreign_processes(now, before, 100) == others


def test_another_process_is_counted_while_it_is_there() -> None:
    running = processes(7)
    found, library = opened(nvmlDeviceGetComputeRunningProcesses=lambda handle: running)
    library.answers["nvmlDeviceGetComputeRunningProcesses"] = lambda handle: [*running, *processes(100)]
    assert found.state().details["other_processes"] == 1
    running.clear()
    assert found.state().details["other_processes"] == 0


@pytest.mark.parametrize(
    ("uuid", "address", "count", "handle"),
    [
        ("GPU-1234", "", 2, "by uuid"),
        ("1234", "", 2, "by uuid"),
        ("99", "00000000:3B:00.0", 2, "by address"),
        ("", "", 1, "the only one"),
        ("99", "", 2, None),
    ],
)
def test_a_card_is_found_by_uuid_by_address_or_as_the_only_one(
    uuid: str, address: str, count: int, handle: str | None
) -> None:
    found, why_not = Nvml.open(uuid, address, library=Library(nvmlDeviceGetCount=count), own_process=1)
    if handle is None:
        assert found is None
        assert "does not know the card" in why_not
    else:
        assert found is not None
        assert found._handle == handle


def test_without_a_driver_there_is_no_nvml_and_a_reason() -> None:
    found, why_not = Nvml.open("x", library=Library(nvmlInit=NotSupportedError("NVML Shared Library Not Found")))
    assert found is None
    assert why_not == "NVML cannot be used (NVML Shared Library Not Found)"


def test_the_real_library_without_a_card_gives_a_reason() -> None:
    pytest.importorskip("pynvml")
    found, why_not = Nvml.open("no such card")
    assert found is None or why_not == ""
    if found is None:
        assert why_not.startswith("NVML")
    else:
        found.close()


def test_closing_twice_is_harmless_and_shuts_down_once() -> None:
    found, library = opened()
    found.close()
    found.close()
    assert library.asked.count("nvmlShutdown") == 1


def test_nothing_is_ever_set() -> None:
    source = Path(nvml.__file__).read_text(encoding="utf-8")
    assert not re.search(r"nvml\w*(Set|Reset|Clear|Modify)", source)
