"""Phones and tools as people have them: LiteRT's tool, a taskset that refuses, cores off line, other servers."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devices import Artefact, load_spec
from devices.android import benchmark_model
from devices.android.identity import _soc_of, choose_cores, parse_identity
from devices.android.listing import attached
from devices.android.opening import AndroidBackend, open_android
from devices.android.state import parse_reading
from devices.errors import DeviceOptionError, MeasurementError, RuntimeUnavailableError
from devices.testing import QUICK
from tests.devices.android.test_opening import CALM
from tests.phone import FakePhone, fake_model
from tests.phone.time import FakeTime

LITERT = "use_xnnpack,gpu_precision_loss_allowed"


def opened(phone: FakePhone, home: Path, tool: Path, time: FakeTime, **options: object) -> AndroidBackend:
    spec = replace(load_spec("android"), options=options)
    return open_android(
        spec, adb=phone.address, benchmark_model=tool, patience=CALM, home=home, announce=lambda _: None,
        clock=time.clock, sleep=time.sleep,
    )  # fmt: skip


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return Artefact("small", "tflite", (1, 8, 8, 3), fake_model(tmp_path / "small.tflite", 800.0))


@pytest.mark.parametrize(("delegate", "flag"), [("xnnpack", "--use_cpu=true"), ("gpu", "--use_gpu=true")])
def test_litert_s_tool_is_known_and_run_with_its_own_flags(*, phone, home, tool, time, artefact, delegate, flag):
    phone.set_tool(output=2025, lacks=LITERT)
    backend = opened(phone, home, tool, time, delegate=delegate)
    assert backend.load(artefact).measure(QUICK).times_ms == (pytest.approx(0.8, rel=0.02),)
    assert backend.runtime()["name"] == "litert benchmark_model"
    command = next(command for command in phone.commands if "--graph" in command)
    assert flag in command
    assert "xnnpack" not in command
    backend.close()


def test_litert_s_tool_has_no_plain_kernels(phone, home, tool, time):
    phone.set_tool(output=2025, lacks=LITERT)
    with pytest.raises(DeviceOptionError, match="LiteRT's, which has no plain kernels"):
        opened(phone, home, tool, time, delegate="none")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("taskset: failed to set pid 77's affinity: Invalid argument", 1),
        ("/system/bin/sh: taskset: inaccessible or not found", 127),
        ("/system/bin/sh: taskset: not found", 127),
        ("taskset: sched_setaffinity: Operation not permitted", 1),
        ("/system/bin/sh: taskset: can't execute: Permission denied", 126),
        ("toybox: Unknown command taskset", 127),
        ("taskset: bad mask 'c'", 1),
    ],
)
def test_a_phone_that_lets_no_core_be_chosen_says_so_at_once(*, phone, home, tool, time, artefact, said, status):
    path = phone.files.path("/system/bin/taskset")
    path.write_text(f'#!/bin/sh\necho "{said}"\nexit {status}\n')
    with pytest.raises(RuntimeUnavailableError, match=r"lets no core be chosen: .*taskset.*--affinity none"):
        opened(phone, home, tool, time)
    backend = opened(phone, home, tool, time, affinity="none")
    assert backend.load(artefact).measure(QUICK).times_ms == (pytest.approx(0.8, rel=0.02),)
    assert not any("taskset" in command for command in phone.commands[-3:])
    backend.close()


def test_a_missing_tool_and_a_wrong_address_are_said_together(home, time):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            for _ in range(2):
                with server.accept()[0] as connection:
                    connection.sendall(b"Android Console: type auth\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(RuntimeUnavailableError) as caught:
            open_android(load_spec("android"), adb=f"127.0.0.1:{port}", benchmark_model="ANY", home=home)
    assert f"is an emulator's console; give the port after it, {port + 1}. Also, no benchmark_model" in str(
        caught.value
    )


def test_the_affinity_of_a_spec_is_obeyed(*, phone, home, tool, time, artefact, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "mine"\nbackend = "android"\n[options]\naffinity = "0-1"\n')
    backend = opened(phone, home, tool, time, **load_spec(str(path)).options)
    assert backend.device().fields["cores_used"] == [0, 1]
    backend.load(artefact).measure(QUICK)
    assert "taskset 3 " in next(command for command in phone.commands if "--graph" in command)
    backend.close()


def test_cores_that_are_off_line_are_not_measured_on(phone, home, tool, time):
    phone.files.write("/sys/devices/system/cpu/online", "0-1\n")
    backend = opened(phone, home, tool, time)
    assert backend.device().fields["cores_used"] == [0, 1]
    assert backend.device().fields["cores_offline"] == [2, 3]
    backend.close()
    with pytest.raises(DeviceOptionError, match="names core 2, which is off line"):
        opened(phone, home, tool, time, affinity="2-3")


@pytest.mark.parametrize(
    ("online", "cores"),
    [("0-3", (2, 3)), ("0,2-3", (2, 3)), ("0-2", (2,)), ("", (2, 3)), ("rubbish", (2, 3)), ("0-9999", (2, 3))],
)
def test_lists_of_cores_on_line(phone, online, cores):
    text = "[ro.product.cpu.abi]: [arm64-v8a]\n__section cpuinfo\n__section soc_id\n__section clocks\n"
    for core, khz in enumerate((1, 1, 2, 2)):
        text += f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq:{khz}000\n"
    text += f"__section present\n0-3\n__section online\n{online}\n__section governors\n__section kernel\n5\n"
    assert choose_cores(parse_identity(text), 1, None) == cores


@pytest.mark.parametrize(
    ("line", "soc"),
    [
        ("Qualcomm Technologies, Inc MSM8996pro", "MSM8996pro"),
        ("Qualcomm Technologies, Inc SM8150 (Flattened Device Tree)", "SM8150"),
        ("Qualcomm Technologies, Inc. SDM845 v2", "SDM845"),
        ("Qualcomm MSM 8974 HAMMERHEAD (Flattened Device Tree)", "MSM8974"),
        ("MT6765V/CB", "MT6765V"),
        ("Samsung Exynos 9810", "Exynos9810"),
        ("Hisilicon Kirin970", "Kirin970"),
        ("Generic DT based system", ""),
        ("(Flattened Device Tree)", ""),
        ("ranchu", "ranchu"),
        ("Qualcomm Technologies, Inc", ""),
        ("Qualcomm Technologies, Inc.", ""),
        ("MediaTek Inc.", ""),
        ("QTI", ""),
        ("placeholder", ""),
        ("Qualcomm Technologies, Inc LAHAINA", "Qualcomm Technologies, Inc LAHAINA"),
        ("vendor Kirin9000", "Kirin9000"),
        ("UMS512-1h10", "UMS512"),
        ("Rockchip RK3588S EVB", "RK3588S"),
    ],
)
def test_the_soc_is_named_whatever_the_line_s_form(line, soc):
    assert _soc_of(line) == soc


@pytest.mark.parametrize("kind", ["soc", "socd", "battery", "soc_pct", "bcl-soc", "batt_soc_level"])
def test_a_battery_s_percentage_is_no_temperature_of_the_processor(kind):
    zone = "/sys/class/thermal/thermal_zone"
    text = f"__section zones\n{zone}0/type:{kind}\n{zone}0/temp:84\n{zone}1/type:cpu-0-0\n{zone}1/temp:41000\n"
    assert parse_reading(text).cpu_c == 41.0


def test_a_device_without_a_battery_has_no_battery_s_numbers():
    """Televisions and boards answer for a battery that they have not."""
    text = "__section battery\n  AC powered: true\n  present: false\n  level: 0\n  temperature: 0\n"
    reading = parse_reading(text)
    assert (reading.battery_c, reading.battery_percent, reading.charging) == (None, None, None)
    assert parse_reading(text.replace("false", "true").replace("temperature: 0", "temperature: 301")).battery_c == 30.1
    assert parse_reading("__section battery\n  Dock powered: true\n  level: 50\n").charging is True


@pytest.mark.parametrize("affinity", ["3-2", "0,3-1"])
def test_cores_the_wrong_way_round_are_not_all_cores(affinity):
    text = "[ro.product.cpu.abi]: [arm64-v8a]\n__section present\n0-3\n"
    with pytest.raises(DeviceOptionError, match=r"names no core in 3-[12]; write the lower one first"):
        choose_cores(parse_identity(text), 1, affinity)


# -- what the tool says -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "Failed to apply XNNPACK delegate.",
        "ERROR: Failed to apply the default TensorFlow Lite delegate indexed at 0.",
        "ERROR: ModifyGraphWithDelegate failed: error applying",
        "XNNPACK delegate creation failed",
    ],
)
def test_a_delegate_that_fails_is_the_reason_that_is_told(line):
    output = f"STARTING!\nLoaded model x\n{line}\nINFO: more\nBenchmarking failed.\n"
    with pytest.raises(
        MeasurementError, match=r"cannot use the delegate xnnpack .*; give --delegate none, or another build"
    ):
        benchmark_model.parse(output, 1)


@pytest.mark.parametrize(
    ("line", "partly"),
    [
        ("Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 2", True),
        (
            "INFO: Though applied, the model graph will be partially executed by the delegate",
            True,
        ),
        ("INFO: Replacing 3 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions.", True),
        ("INFO: Replacing 9 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.", False),
        ("Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.", False),
    ],
)
def test_what_is_delegated_in_part_is_flagged(line, partly):
    good = "count=5 first=9 curr=9 min=8 max=9 avg=9 std=1\n"
    assert benchmark_model.parse(f"{line}\n{good}{good}", delegate="gpu").partly_delegated is partly


# -- what answers there is no phone -------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes]]]:
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    try:
                        connection.sendall(said[0])
                        connection.recv(9)
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", said


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (
            b"Android Console: Authentication required\r\nOK\r\n",
            "is an emulator's console; give the port after it, {after}",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is an SSH server, not a phone"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is a web server, not a phone"),
    ],
)
def test_what_answers_there_is_named(*, server, home, tool, time, greeting, words):
    address, said = server
    said.append(greeting)
    expected = f"{address} " + words.format(after=int(address.rpartition(":")[2]) + 1)
    with pytest.raises(RuntimeUnavailableError) as error:
        open_android(
            load_spec("android"), adb=address, benchmark_model=tool, patience=CALM, home=home,
            announce=lambda _: None, clock=time.clock, sleep=time.sleep,
        )  # fmt: skip
    assert expected in str(error.value)
    assert expected in attached([address], usb=lambda: [])[0]
