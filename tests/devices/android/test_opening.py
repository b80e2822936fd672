"""The back-end for phones: what it recognises, what it measures, and what it does when the phone misbehaves."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import Artefact, Slice, load_spec, open_backend
from devices.android.adb.session import Patience
from devices.android.benchmark_model import UnknownFlagError
from devices.android.identity import CPU, choose_cores, core_mask, fastest_cores, parse_identity
from devices.android.listing import attached
from devices.android.opening import AndroidBackend, open_android
from devices.android.state import celsius, parse_reading
from devices.errors import (
    ConnectionLostError,
    DeviceMismatchError,
    DeviceOptionError,
    MeasurementError,
    RuntimeUnavailableError,
    StorageFullError,
)
from devices.locks import HeldError
from devices.testing import QUICK, BackendContract
from tests.phone import FakePhone, fake_model, fake_tool
from tests.phone.time import FakeTime
from tests.phone.usb import UsbBus

CALM = Patience(allow_s=10.0, silence_s=10.0, resume_s=30.0, attempts=4)
ANDROID_12 = {"ro.build.version.sdk": "31", "ro.soc.model": "SM8350", "ro.soc.manufacturer": "QTI"}
Open = Callable[..., AndroidBackend]


@pytest.fixture
def open_phone(home: Path, tool: Path, time: FakeTime, said: list[str]) -> Iterator[Open]:
    opened: list[AndroidBackend] = []

    def open_phone(
        phone: FakePhone, device: str = "snapdragon821", cool_down_s: float | None = None, **options: object
    ) -> AndroidBackend:
        given = {"benchmark_model": tool, "patience": CALM, "home": home, "announce": said.append, **options}
        spec = load_spec(device)
        if cool_down_s is not None:
            spec = replace(spec, options={"cool_down_s": cool_down_s})
        given = {"adb": phone.address, **given}
        backend = open_android(spec, clock=time.clock, sleep=time.sleep, **given)  # type: ignore[arg-type]
        opened.append(backend)
        return backend

    yield open_phone
    for backend in opened:
        backend.close()


@pytest.fixture
def backend(phone: FakePhone, open_phone: Open) -> AndroidBackend:
    return open_phone(phone)


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return Artefact("small", "tflite", (1, 8, 8, 3), fake_model(tmp_path / "small.tflite", 800.0))


class TestAndroid(BackendContract):
    @pytest.fixture
    def other(self, tmp_path: Path) -> Artefact:
        return Artefact("large", "tflite", (1, 16, 16, 3), fake_model(tmp_path / "large.tflite", 2500.0))

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Artefact:
        path = tmp_path / "broken.tflite"
        path.write_bytes(b"TFL3 but not a model")
        return Artefact("broken", "tflite", (1, 8, 8, 3), path)


class TestIdentity:
    def test_the_phone_is_described(self, backend: AndroidBackend) -> None:
        found = backend.device()
        assert found.model == "Fake Loopback 821 (MSM8996pro)"
        assert found.fields["core_max_mhz"] == [2188.8, 2188.8, 2342.4, 2342.4]
        assert (found.fields["cores_used"], found.fields["core_mask"]) == ([2, 3], "c")
        assert found.fields["build_fingerprint"].startswith("fake/")
        assert load_spec("snapdragon821").check(found) is None

    @pytest.mark.parametrize(
        ("soc_id", "hardware", "soc", "source"),
        [
            ("305", "Qualcomm Technologies, Inc MSM8996pro", "MSM8996pro", "soc_id"),
            ("312", "Qualcomm Technologies, Inc APQ8096pro", "APQ8096pro", "soc_id"),
            (None, "Qualcomm Technologies, Inc MSM8996pro", "MSM8996pro", "cpuinfo"),
            ("246", "Qualcomm Technologies, Inc MSM8996", "MSM8996", "soc_id"),
            (None, "Qualcomm Technologies, Inc MSM8996", "MSM8996", "cpuinfo"),
            ("999", "", "msm8996", "ro.board.platform"),
        ],
    )
    def test_an_821_is_told_from_an_820(  # noqa: PLR0917
        self, tmp_path: Path, open_phone: Open, soc_id: str | None, hardware: str, soc: str, source: str
    ) -> None:
        cpuinfo = f"processor\t: 0\nHardware\t: {hardware}\n" if hardware else "processor\t: 0\n"
        with FakePhone(tmp_path / "phone", soc_id=soc_id, cpuinfo=cpuinfo) as phone:
            found = open_phone(phone).device()
        assert (found.fields["soc"], found.fields["soc_source"]) == (soc, source)
        if soc.endswith("pro"):
            assert load_spec("snapdragon821").check(found) is None
        else:
            with pytest.raises(DeviceMismatchError, match=f"soc is '{soc}'"):
                load_spec("snapdragon821").check(found)
        assert load_spec("android").check(found) is None

    def test_newer_phones_name_their_soc(self, tmp_path: Path, open_phone: Open) -> None:
        with FakePhone(tmp_path / "phone", properties=ANDROID_12, soc_id="415", cpuinfo="processor\t: 0\n") as phone:
            assert open_phone(phone, "android").device().fields["soc"] == "SM8350"

    def test_something_else_that_speaks_adb_is_refused(self) -> None:
        with pytest.raises(RuntimeUnavailableError, match="is it an Android phone"):
            parse_identity("sh: getprop: not found\n")

    @pytest.mark.parametrize(
        ("max_khz", "threads", "cores"),
        [
            ((2188, 2188, 2342, 2342), 1, (2, 3)),
            ((2188, 2188, 2342, 2342), 3, (0, 1, 2, 3)),
            ((1800, 1800, 1800, 1800, 2400, 2400, 2400, 2840), 1, (7,)),
            ((1800, 1800, 1800, 1800, 2400, 2400, 2400, 2840), 4, (4, 5, 6, 7)),
            ((1800, 1800), 2, (0, 1)),
        ],
    )
    def test_the_fastest_cores_are_taken_by_clusters(
        self, max_khz: tuple[int, ...], threads: int, cores: tuple[int, ...]
    ) -> None:
        lines = [f"{CPU}/cpu{i}/cpufreq/cpuinfo_max_freq:{khz}000" for i, khz in enumerate(max_khz)]
        phone = parse_identity(
            "[ro.product.cpu.abi]: [arm64-v8a]\n__section cpuinfo\n__section soc_id\n__section clocks\n"
            + "\n".join(lines)
            + f"\n__section present\n0-{len(max_khz) - 1}\n__section governors\n__section kernel\n"
        )
        assert fastest_cores(phone, threads) == cores
        with pytest.raises(DeviceOptionError, match=f"99 threads are more than the phone's {len(max_khz)} cores"):
            fastest_cores(phone, 99)
        assert choose_cores(phone, 1, "none") == tuple(range(len(max_khz)))
        assert choose_cores(phone, 1, "0-1") == (0, 1)
        with pytest.raises(DeviceOptionError, match="--affinity 0,77 does not name cores"):
            choose_cores(phone, 1, "0,77")

    def test_a_mask_has_a_bit_for_each_core(self) -> None:
        assert f"{core_mask((2, 3)):x}" == "c"

    @pytest.mark.usefixtures("home")
    def test_phones_at_hand_are_listed_with_how_to_name_them(self, phone: FakePhone) -> None:
        lines = attached([phone.address, "127.0.0.1:1"], usb=list)
        assert lines[0] == f"--adb {phone.address}: Fake Loopback 821 (MSM8996pro), Android 8.0.0, arm64-v8a"
        assert "nothing listens there" in lines[1]

    @pytest.mark.usefixtures("home")
    def test_phones_on_usb_are_listed_by_serial(self, phone: FakePhone, usb: UsbBus) -> None:
        usb.attach("A1B2", phone)
        assert attached() == ["--serial A1B2: Fake Loopback 821 (MSM8996pro), Android 8.0.0, arm64-v8a"]
        usb.attach("A1B2", phone, locked=True)
        (line,) = attached()
        assert line.startswith("on USB: no permission to open the phone")
        assert "udev" in line

    @pytest.mark.usefixtures("home")
    def test_where_usb_cannot_be_used_the_list_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "usb1", None)
        monkeypatch.delitem(sys.modules, "adb_shell.transport.usb_transport", raising=False)
        (line,) = attached()
        assert line.startswith("phones on USB cannot be seen: USB needs the extra 'usb'")


class TestUsb:
    @pytest.fixture
    def open_usb(self, home: Path, tool: Path, time: FakeTime) -> Callable[..., AndroidBackend]:
        def open_usb(serial: str | None = None) -> AndroidBackend:
            spec = load_spec("snapdragon821")
            return open_android(
                spec, serial=serial, benchmark_model=tool, home=home, patience=CALM, clock=time.clock, sleep=time.sleep
            )

        return open_usb

    def test_the_only_phone_is_taken(self, phone: FakePhone, usb: UsbBus, open_usb: Open, artefact: Artefact) -> None:
        usb.attach("A1B2", phone)
        backend = open_usb()
        assert backend.load(artefact).measure(QUICK).times_ms == (pytest.approx(0.8, rel=0.02),)
        backend.close()

    def test_another_phone_that_is_plugged_in_later_is_not_taken_for_it(
        self, phone: FakePhone, tmp_path: Path, usb: UsbBus, open_usb: Open, artefact: Artefact
    ) -> None:
        with FakePhone(tmp_path / "other") as other:
            usb.attach("A1B2", phone)
            backend = open_usb()
            usb.detach("A1B2")
            usb.attach("C3D4", other)
            usb.attach("A1B2", phone)
            phone.drop()
            assert backend.load(artefact).measure(QUICK).times_ms
            backend.close()
            assert other.commands == []

    def test_of_several_phones_one_must_be_named(
        self, phone: FakePhone, tmp_path: Path, usb: UsbBus, open_usb: Open
    ) -> None:
        with FakePhone(tmp_path / "other", soc_id="312") as other:
            usb.attach("A1B2", phone)
            usb.attach("C3D4", other)
            with pytest.raises(RuntimeUnavailableError, match=r"2 phones are attached \(A1B2, C3D4\).*--serial"):
                open_usb()
            backend = open_usb("C3D4")
            assert backend.device().fields["soc"] == "APQ8096pro"
            backend.close()

    def test_a_serial_that_is_not_attached_is_named(self, phone: FakePhone, usb: UsbBus, open_usb: Open) -> None:
        usb.attach("A1B2", phone)
        with pytest.raises(RuntimeUnavailableError, match="no phone with the serial X9 is attached"):
            open_usb("X9")

    def test_no_phone_at_all_says_what_to_do(self, usb: UsbBus, open_usb: Open) -> None:
        with pytest.raises(RuntimeUnavailableError, match="plug it in and turn on USB debugging"):
            open_usb()


class TestState:
    def test_a_cool_phone_is_not_throttled(self, backend: AndroidBackend) -> None:
        state = backend.state()
        assert (state.temperature_c, state.throttled, state.load) == (28.0, False, 0.0)
        assert state.details["battery_percent"] == 84
        assert state.details["charging"] is True
        assert state.details["cpu_c"] == 36.0

    def test_heat_shows_in_the_caps_even_on_an_old_android(self, phone: FakePhone, backend: AndroidBackend) -> None:
        phone.set_heat(1.5)
        state = backend.state()
        assert (state.throttled, state.temperature_c) == (True, 44.0)
        phone.set_heat(1.0)
        assert not backend.state().throttled

    def test_the_thermal_service_is_read_where_it_is(self, tmp_path: Path, open_phone: Open) -> None:
        with FakePhone(tmp_path / "phone", properties=ANDROID_12) as phone:
            state = open_phone(phone).state()
        assert state.details["thermal_status"] == 0
        assert state.details["skin_c"] == 30.0  # of the HAL; the cached 99 °C is old
        assert state.details["cpu_c"] == 36.0

    def test_denied_zones_cost_only_their_own_value(self, phone: FakePhone, open_phone: Open) -> None:
        for zone in range(2):
            phone.files.deny(f"/sys/class/thermal/thermal_zone{zone}/temp")
        state = open_phone(phone).state()
        assert "cpu_c" not in state.details
        assert state.temperature_c == 28.0

    def test_nothing_readable_is_a_state_too(self) -> None:
        reading = parse_reading("sh: everything: permission denied\n")
        state = reading.state((0,), {}, 8)
        assert (state.temperature_c, state.clock_mhz, state.load, state.throttled) == (None, None, None, False)

    @given(st.text(max_size=300))
    def test_no_text_breaks_the_reader(self, text: str) -> None:
        parse_reading("__section zones\n" + text + "\n__section battery\n" + text + "\n__section thermal\n" + text)

    @pytest.mark.parametrize(("raw", "expected"), [(36, 36.0), (361, 36.1), (36100, 36.1), (0, None), (-99900, None)])
    def test_zones_come_in_any_unit(self, raw: float, expected: float | None) -> None:
        assert celsius(raw) == expected

    def test_a_setting_that_saves_power_is_not_heat(self, phone: FakePhone, open_phone: Open) -> None:
        for core in (2, 3):
            phone.files.write(f"{CPU}/cpu{core}/cpufreq/scaling_max_freq", "1500000\n")
        backend = open_phone(phone)
        backend.get_ready()
        assert not backend.state().throttled
        assert backend.device().fields["usual_cap_mhz"] == [1500.0, 1500.0]

    def test_a_warm_phone_cools_down_first(
        self, phone: FakePhone, open_phone: Open, time: FakeTime, said: list[str]
    ) -> None:
        phone.faults.order("throttle", service="scaling_cur_freq", readings=5)
        backend = open_phone(phone)
        backend.get_ready()
        assert "44.0 °C warm and throttled; waiting for 35 °C" in said[0]
        assert time.now_s >= 30

    def test_the_wait_for_a_cool_phone_has_a_limit(
        self, phone: FakePhone, open_phone: Open, time: FakeTime, said: list[str]
    ) -> None:
        phone.set_heat(1.3)
        backend = open_phone(phone, cool_down_s=60)
        backend.get_ready()
        assert "after 60 s; measuring as it is" in said[-1]
        assert 60 <= time.now_s < 80
        assert backend.state().throttled

    def test_opening_waits_for_nothing_since_files_are_made_first(
        self, phone: FakePhone, open_phone: Open, time: FakeTime, said: list[str]
    ) -> None:
        phone.set_heat(1.3)
        open_phone(phone)
        assert (said, time.now_s) == ([], 0)

    def test_the_wait_for_a_cool_phone_ends_with_the_time_that_there_is(
        self, phone: FakePhone, open_phone: Open, time: FakeTime, said: list[str]
    ) -> None:
        phone.set_heat(1.3)
        open_phone(phone, cool_down_s=60).get_ready(13.0)
        assert "after 13 s; measuring as it is" in said[-1]
        assert time.now_s == pytest.approx(13.0)


class TestOneSession:
    def test_a_second_session_with_the_phone_is_refused_and_disturbs_nothing(
        self, phone: FakePhone, open_phone: Open
    ) -> None:
        first = open_phone(phone)
        before = len(phone.commands)
        with pytest.raises(HeldError, match=f"the phone at {phone.address} is in use by process {os.getpid()}"):
            open_phone(phone)
        assert not any("kill" in command or "rm " in command for command in phone.commands[before:])
        assert first.state().temperature_c == 28.0
        first.close()
        open_phone(phone).close()

    def test_the_way_to_it_makes_no_difference(self, phone: FakePhone, open_phone: Open, usb: UsbBus) -> None:
        usb.attach("A1B2", phone)
        open_phone(phone)
        with pytest.raises(HeldError):
            open_phone(phone, adb=None, serial="A1B2")

    def test_an_opening_that_fails_leaves_the_phone_free(self, phone: FakePhone, open_phone: Open) -> None:
        with pytest.raises(DeviceOptionError):
            open_phone(phone, affinity="9")
        open_phone(phone)

    def test_two_of_one_kind_are_two_units(self, tmp_path: Path, open_phone: Open) -> None:
        units = []
        for serial in ("A1", "B2"):
            with FakePhone(tmp_path / serial, properties={"ro.serialno": serial}) as phone:
                found = open_phone(phone).device()
                units.append(found.unit)
                assert serial not in json.dumps(found.fields) + found.unit
        assert len(set(units)) == 2


class TestPrecision:
    @pytest.mark.parametrize("delegate", ["xnnpack", "none"])
    def test_half_precision_is_refused_where_the_delegate_computes_in_single(
        self, phone: FakePhone, tool: Path, home: Path, delegate: str
    ) -> None:
        spec = replace(load_spec("android"), precision="float16")
        with pytest.raises(DeviceOptionError, match=f"the delegate {delegate} computes float32, not float16"):
            open_android(spec, adb=phone.address, benchmark_model=tool, home=home, delegate=delegate)


class TestMeasuring:
    def test_an_invocation_is_one_time_with_its_runs(self, backend: AndroidBackend, artefact: Artefact) -> None:
        samples = backend.load(artefact).measure(Slice(min_time_s=0.1, min_runs=3, warmup_s=0.02))
        assert samples.times_ms == (pytest.approx(0.8, rel=0.02),)
        assert samples.warmup_ms == (pytest.approx(0.8, rel=0.02),)
        assert samples.runs >= 120

    @pytest.mark.parametrize("year", [2019, 2020, 2021, 2023, 2025])
    def test_every_year_of_the_tool_will_do(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact, year: int
    ) -> None:
        phone.set_tool(output=year)
        assert backend.load(artefact).measure(QUICK).times_ms == (pytest.approx(0.8, rel=0.02),)

    def test_the_runtime_names_the_build_by_its_hash(self, backend: AndroidBackend) -> None:
        runtime = backend.runtime()
        assert len(runtime["binary_sha256"]) == 64
        assert (runtime["threads"], runtime["delegate"], runtime["core_mask"]) == (1, "xnnpack", "c")
        assert json.dumps(dict(runtime))

    def test_the_tool_is_pinned_and_xnnpack_explicit(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact
    ) -> None:
        backend.load(artefact).measure(QUICK)
        command = next(command for command in phone.commands if "--graph" in command)
        assert "taskset c " in command
        assert "--use_xnnpack=true" in command
        assert "--num_threads=1" in command

    def test_a_model_is_pushed_once_over_sessions(self, phone: FakePhone, open_phone: Open, artefact: Artefact) -> None:
        for _ in range(2):
            backend = open_phone(phone)
            backend.load(artefact).measure(QUICK)
            backend.close()
        assert len(phone.pushed()) == 1
        assert sum("mkdir -p /data/local/tmp/pnag/models" in command for command in phone.commands) == 1

    def test_whole_networks_do_not_stay_on_the_phone(
        self, phone: FakePhone, backend: AndroidBackend, tmp_path: Path
    ) -> None:
        network = Artefact("n", "tflite", (1, 8, 8, 3), fake_model(tmp_path / "n.tflite", 9000.0, 9_000_000))
        first, second = backend.load(network), backend.load(network)
        first.close()
        assert second.measure(QUICK).times_ms
        second.close()
        assert phone.pushed() == []

    def test_full_storage_is_cleared_of_what_nobody_uses(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact, tmp_path: Path
    ) -> None:
        backend.load(artefact).close()
        used = backend.load(Artefact("u", "tflite", (1, 8, 8, 3), fake_model(tmp_path / "u.tflite", 1.0)))
        phone.files.set_free_bytes(0)
        with pytest.raises(StorageFullError):
            backend.load(Artefact("n", "tflite", (1, 8, 8, 3), fake_model(tmp_path / "n.tflite", 2.0, 100_000)))
        assert len(phone.pushed()) == 1
        assert used.measure(QUICK).times_ms

    def test_a_model_that_is_no_tflite_file_is_refused(self, backend: AndroidBackend) -> None:
        with pytest.raises(MeasurementError, match=r"is onnx, and a phone runs \.tflite files"):
            backend.load(Artefact("x", "onnx", (1, 3, 8, 8), Path("x.onnx")))

    def test_it_is_in_the_registry(self, phone: FakePhone, home: Path, tool: Path) -> None:
        backend = open_backend(load_spec("android"), adb=phone.address, benchmark_model=tool, home=home)
        assert backend.artefact_format == "tflite"
        backend.close()


class TestTool:
    def test_without_a_tool_the_user_is_told_where_to_name_it(self, phone: FakePhone, open_phone: Open) -> None:
        with pytest.raises(
            RuntimeUnavailableError, match=r"--benchmark-model, or as benchmark_model in .*config\.toml"
        ):
            open_phone(phone, benchmark_model=None)

    def test_the_configuration_names_it(
        self, phone: FakePhone, open_phone: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        (tmp_path / "pnag").mkdir()
        (tmp_path / "pnag/config.toml").write_text(f'benchmark_model = "{tmp_path}/benchmark_model"\n')
        assert open_phone(phone, benchmark_model=None).runtime()["binary_sha256"]

    def test_a_build_for_another_processor_is_refused_before_it_is_pushed(
        self, phone: FakePhone, open_phone: Open, tmp_path: Path
    ) -> None:
        with pytest.raises(RuntimeUnavailableError, match="built for x86_64"):
            open_phone(phone, benchmark_model=fake_tool(tmp_path / "x86", "x86_64"))
        assert not (phone.files.root / "data/local/tmp/pnag/bin").exists()

    def test_a_build_the_phone_cannot_run_is_an_error(self, phone: FakePhone, open_phone: Open) -> None:
        phone.files.path("/system/bin/taskset").write_text("#!/bin/sh\necho CANNOT LINK EXECUTABLE: libc.so; exit 1\n")
        with pytest.raises(RuntimeUnavailableError, match=r"cannot run .*CANNOT LINK"):
            open_phone(phone)

    def test_flags_that_an_old_build_lacks_are_left_out_if_they_may(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact
    ) -> None:
        phone.set_tool(output=2019, lacks="max_secs,warmup_min_secs")
        program = backend.load(artefact)
        assert program.measure(QUICK).times_ms == (pytest.approx(0.8, rel=0.02),)
        assert program.measure(QUICK).times_ms
        assert "max_secs" not in phone.commands[-2]

    def test_a_build_without_a_flag_that_matters_is_refused(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact
    ) -> None:
        phone.set_tool(lacks="use_xnnpack")
        with pytest.raises(UnknownFlagError, match="does not know --use_xnnpack"):
            backend.load(artefact).measure(QUICK)

    def test_the_gpu_delegate_is_asked_for(self, phone: FakePhone, open_phone: Open, artefact: Artefact) -> None:
        open_phone(phone, delegate="gpu").load(artefact).measure(QUICK)
        command = next(command for command in phone.commands if "--graph" in command)
        assert "--use_gpu=true" in command
        assert "--use_xnnpack=false" in command

    def test_an_unknown_delegate_lists_the_known_ones(self, phone: FakePhone, open_phone: Open) -> None:
        with pytest.raises(DeviceOptionError, match="delegate 'npu' is unknown; choose from xnnpack, gpu, none"):
            open_phone(phone, delegate="npu")


class TestMisfortune:
    @pytest.mark.parametrize("kind", ["drop", "vanish", "reboot", "garbage", "kill_tool"])
    @pytest.mark.parametrize("messages", [2, 19])
    def test_a_visit_survives(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact, kind: str, messages: int
    ) -> None:
        phone.faults.order(kind, messages=messages)
        program = backend.load(artefact)
        for _ in range(3):
            assert program.measure(QUICK).times_ms == (pytest.approx(0.8, rel=0.02),)
        assert phone.faults.struck == [kind]
        backend.close()
        assert phone.processes() == []

    def test_a_phone_that_does_not_come_back_ends_it(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact
    ) -> None:
        program = backend.load(artefact)
        phone.faults.order("vanish", service="--graph", attempts=-1)
        with pytest.raises(ConnectionLostError, match="to go on"):
            program.measure(QUICK)

    def test_garbage_every_time_fails_the_block_only(
        self, phone: FakePhone, backend: AndroidBackend, artefact: Artefact
    ) -> None:
        for nth in range(1, 5):
            phone.faults.order("garbage", service="--graph", nth=nth)
        program = backend.load(artefact)
        with pytest.raises(MeasurementError, match=r"small: .*printed no timings.*tried 4 times"):
            program.measure(QUICK)
        assert program.measure(QUICK).times_ms

    def test_what_a_killed_session_left_running_is_ended(self, phone: FakePhone, open_phone: Open) -> None:
        first = open_phone(phone)
        first._session.run(
            "cp $(command -v sleep) /data/local/tmp/pnag/bin/x; nohup /data/local/tmp/pnag/bin/x 60 >/dev/null 2>&1 &"
        )
        assert len(phone.processes()) == 1
        first._held.close()  # as a death would: nothing is tidied up
        open_phone(phone)
        assert phone.processes() == []
