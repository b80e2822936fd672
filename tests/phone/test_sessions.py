"""Whole sessions on phones that only say how long things take: complete tables, whatever happens meanwhile."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import profiler.cli
import profiler.cli_networks
from devices import Artefact, Slice, load_spec
from devices.android.opening import open_android
from devices.errors import ConnectionLostError
from lut.table import LatencyTable
from profiler.build.modules import Network, build_network
from profiler.measure.plan import block_units
from profiler.verification import networks as measure_networks
from profiler.verification.networks import OnDevice
from tests.phone import FakePhone
from tests.phone.bench import SPACE, Bench
from tests.phone.fixtures import phone_spec
from tests.phone.models import PhoneModels, latency_us
from tests.phone.time import FakeTime
from tests.phone.usb import UsbBus
from tests.phone.wander import Wander
from tests.pnag.commands import Ended, runner

pytestmark = pytest.mark.usefixtures("shell")  # with the shell and tools of this computer, and with Android's
SPEC = phone_spec(
    block_s=0.01,
    network_s=0.01,
    reference_s=0.01,
    warm_up_s=0.01,
    min_rounds=1,
    max_rounds=1,
    segment_s=3.0,
)
Profile = Callable[..., Ended]


@pytest.fixture
def profile(
    tmp_path: Path, home: Path, tool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Profile:
    """Runs `pnag-profile` on the phones given, with files that only say how long they take."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profiler.cli, "open_factory", lambda *_, **__: PhoneModels(tmp_path / "models"))
    (tmp_path / "phone.toml").write_text(SPEC)
    run = runner(profiler.cli.main, capsys, monkeypatch)

    def profile(phones: list[FakePhone], *options: str) -> Ended:
        words = ["--device", "phone.toml", "--resolution", "32", "--classes", "10", "--benchmark-model", str(tool)]
        for phone in phones:
            words += ["--adb", phone.address]
        return run(*words, *options)

    return profile


@pytest.fixture
def few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profile four blocks and no network, where what matters is something else."""
    monkeypatch.setattr(profiler.cli_networks, "block_units", lambda specs: block_units(sorted(specs, key=str)[:4]))
    monkeypatch.setattr(profiler.cli_networks, "sample_units", lambda *_: ())


@pytest.fixture
def bench(phone: FakePhone, tmp_path: Path, home: Path) -> Bench:
    return Bench(phone, tmp_path, home)


def test_all_blocks_of_the_space_are_profiled_by_the_command(
    phone: FakePhone, profile: Profile, tmp_path: Path
) -> None:
    ended = profile([phone], "--calibrate", "8", "--holdout", "4", "--json")
    document = ended.document
    assert (ended.code, document["blocks"], document["failed"]) == (0, 93, [])
    assert document["fidelity"]["mape"] < 0.025
    assert document["fidelity"]["worst"] < 0.07
    table = LatencyTable.load(tmp_path / "lut/phone.parquet")
    for spec in SPACE.blocks():
        assert table.blocks[spec.key].latency_ms * 1000 == pytest.approx(latency_us([spec]), rel=0.03)
    assert table.metadata.device["soc"] == "MSM8996pro"
    assert len(table.metadata.runtime["binary_sha256"]) == 64
    state = json.loads(table.blocks[SPACE.stem.key].round_states[0])
    assert (state["temperature_c"], state["clock_mhz"], state["battery_percent"]) == (28.0, 2342.4, 84)
    assert phone.processes() == []


@pytest.mark.usefixtures("few_blocks")
def test_the_phones_state_before_and_after_is_kept_and_told(phone: FakePhone, profile: Profile, tmp_path: Path) -> None:
    ended = profile([phone])
    quality = LatencyTable.load(tmp_path / "lut/phone.parquet").metadata.sampling["quality"]
    for when in ("before", "after"):
        state = quality[when]
        assert (state["temperature_c"], state["battery_percent"], state["throttled"]) == (28.0, 84, False)
        assert (state["governors"], state["caps_mhz"]) == (["interactive"], [2342.4, 2342.4])
    assert (
        "state     28.0 to 28.0 °C, battery 84 to 84 %, clocks 2342 to 2342 MHz, governor interactive, charging\n"
        in ended.out
    )


@pytest.mark.usefixtures("few_blocks")
def test_two_phones_have_a_table_each(profile: Profile, tmp_path: Path) -> None:
    with FakePhone(tmp_path / "one") as one, FakePhone(tmp_path / "two") as two:
        two.set_heat(1.0)
        ended = profile([one, two], "--json")
        names = [f"phone-127.0.0.1-{phone.address.split(':')[1]}.parquet" for phone in (one, two)]
    assert ended.code == 0
    assert [Path(document["table"]).name for document in ended.document["tables"]] == names
    assert [len(LatencyTable.load(tmp_path / "lut" / name).blocks) for name in names] == [4, 4]


@pytest.mark.usefixtures("few_blocks")
def test_two_phones_on_usb_are_told_apart_by_their_serials(profile: Profile, usb: UsbBus, tmp_path: Path) -> None:
    with FakePhone(tmp_path / "one") as one, FakePhone(tmp_path / "two") as two:
        usb.attach("A1B2", one)
        usb.attach("C3D4", two)
        listed = profile([], "--list-devices")
        refused = profile([])
        ended = profile([], "--serial", "A1B2", "--serial", "C3D4", "--json")
    assert "--serial A1B2: Fake" in listed.out
    assert "--serial C3D4: Fake" in listed.out
    assert (refused.code, refused.says("2 phones are attached", "A1B2", "--serial")) == (3, True)
    assert ended.code == 0
    names = ["phone-A1B2.parquet", "phone-C3D4.parquet"]
    assert [Path(document["table"]).name for document in ended.document["tables"]] == names
    assert [len(LatencyTable.load(tmp_path / "lut" / name).blocks) for name in names] == [4, 4]


@pytest.mark.usefixtures("few_blocks")
def test_one_phone_that_fails_does_not_stop_the_other(profile: Profile, tmp_path: Path) -> None:
    with FakePhone(tmp_path / "one") as one, FakePhone(tmp_path / "two") as two:
        two.faults.order("full", service="--graph")
        two.files.set_free_bytes(1 << 20)
        two.set_tool(lacks="use_xnnpack")
        ended = profile([one, two])
    assert ended.code == 3
    assert ended.out.count("4 measured") == 1
    assert ended.says("does not know --use_xnnpack")


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (lambda phone: setattr(phone.faults, "tls", True), "adb tcpip 5555"),
        (lambda phone: phone.files.set_free_bytes(0), "free some storage"),
        (lambda phone: phone.stop(), "nothing listens there"),
        (lambda phone: phone.files.write("/properties", "[a]: [b]"), "is it an Android phone"),
    ],
)
def test_what_cannot_be_helped_is_one_line(
    phone: FakePhone, profile: Profile, trouble: Callable[[FakePhone], None], says: str
) -> None:
    trouble(phone)
    ended = profile([phone])
    assert (ended.code, ended.out) == (3, "")
    assert ended.says(says)


def test_the_command_lists_phones_at_addresses(phone: FakePhone, profile: Profile) -> None:
    ended = profile([phone], "--list-devices")
    assert ended.code == 0
    assert f"--adb {phone.address}: Fake Loopback 821 (MSM8996pro)" in ended.out


@pytest.mark.parametrize("kind", ["drop", "vanish", "reboot", "garbage", "kill_tool"])
def test_a_session_survives(bench: Bench, kind: str) -> None:
    bench.phone.faults.order(kind, messages=150)
    result = bench.run()
    assert bench.phone.faults.struck == [kind]
    bench.check(result)


def test_a_session_survives_silence(bench: Bench) -> None:
    bench.phone.faults.order("silence", messages=150)
    bench.check(bench.run(silence_s=2.0))
    assert bench.phone.faults.struck == ["silence"]


def test_a_session_that_lost_its_phone_goes_on_where_it_was(bench: Bench) -> None:
    bench.phone.faults.order("vanish", service="--graph", nth=14, attempts=-1)
    with pytest.raises(ConnectionLostError, match="to go on"):
        bench.run()
    before = bench.visits_on_disk()
    bench.phone.come_back()
    result = bench.run()
    bench.check(result)
    assert before > 0
    assert result.quality["resumed_visits"] == before


@pytest.mark.parametrize("told", [True, False])
def test_throttling_is_noticed_and_made_up_for_and_waited_out_where_the_phone_says_it(bench: Bench, told: bool) -> None:
    """Where the phone says nothing of it, the reference block tells."""
    bench.phone.faults.order("throttle", service="--graph", nth=8, readings=6, told=told)
    result = bench.run()
    bench.check(result)
    assert (result.quality["waited_s"] > 0) == told
    assert result.quality["off_segments"] >= 1
    assert all(visit.steady for measurement in result.measurements.values() for visit in measurement.used)


def test_throttling_without_end_is_said_of_every_visit(bench: Bench) -> None:
    bench.phone.faults.order("throttle", service="--graph", nth=8, readings=10_000)
    result = bench.run()
    assert result.quality["waited_s"] >= 60
    assert result.quality["throttled_share"] > 0


@pytest.fixture
def verify(  # noqa: PLR0917
    phone: FakePhone,
    home: Path,
    tool: Path,
    time: FakeTime,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., OnDevice]:
    """Measures a network on the phone, from files that only say what they take."""

    def verify(network: Network, table: LatencyTable | None = None) -> OnDevice:
        reach = {"adb": phone.address, "benchmark_model": tool, "home": home}
        clock = {"clock": time.clock, "sleep": time.sleep, "announce": said.append}
        return measure_networks.measure_networks(
            "snapdragon821", {"a": network}, table=table, tell=said.append, **reach, **clock
        )

    def open_models(_format: str, _cache: object, batch: int, precision: str) -> PhoneModels:
        return PhoneModels(tmp_path / "models", batch, precision, said)

    monkeypatch.setattr(measure_networks, "open_factory", open_models)
    return verify


def test_networks_are_verified_on_the_phone(verify: Callable[..., OnDevice]) -> None:
    smallest = SPACE.decompose(SPACE.extremes()[0])
    measured = verify(build_network(smallest))
    assert measured.device.model == "Fake Loopback 821 (MSM8996pro)"
    assert measured.results[0].now_ms * 1000 == pytest.approx(latency_us(smallest), rel=0.02)


@pytest.mark.usefixtures("few_blocks")
def test_verification_measures_as_the_table_was_made(
    phone: FakePhone, profile: Profile, verify: Callable[..., OnDevice], said: list[str], tmp_path: Path
) -> None:
    how = ("--batch", "2", "--threads", "2", "--precision", "float16", "--delegate", "gpu", "--affinity", "0-1")
    assert profile([phone], *how).code == 0
    table = LatencyTable.load(tmp_path / "lut/phone.parquet")
    about = table.metadata
    assert about.device["options"] == {"affinity": "0-1", "delegate": "gpu"}
    asked = {command for command in phone.commands if "--graph" in command}
    phone.commands.clear()
    table = replace(table, metadata=replace(about, device={**about.device, "spec": "snapdragon821"}))
    measured = verify(build_network(SPACE.decompose(SPACE.extremes()[0])), table)
    assert said == ["converted (2, 3, 32, 32) float32"]
    assert measured.results[0].partners == (about.sampling["quality"]["reference_block"],)
    assert measured.slowdown == pytest.approx(0, abs=0.02)
    assert (measured.batch, measured.runtime["precision"], measured.runtime["core_mask"]) == (2, "float16", "3")
    flags = [{_flags(command) for command in commands if "--graph" in command} for commands in (asked, phone.commands)]
    assert flags[0] == flags[1]


def _flags(command: str) -> str:
    """How a run was started, without what it runs and for how long."""
    words = command[command.index("taskset") : command.index(")", command.index("taskset"))].split()
    return " ".join(word for word in words if not re.match(r"--(graph|num_runs|.*_secs|warmup_runs)=", word))


def test_real_models_run_in_the_tools_place(tmp_path: Path, home: Path, tool: Path) -> None:
    data = Path(__file__).parents[1] / "devices/data"
    with FakePhone(tmp_path / "phone", real=True) as phone:
        backend = open_android(
            load_spec("snapdragon821"),
            adb=phone.address,
            benchmark_model=tool,
            home=home,
            announce=lambda _: None,
        )
        for name, side in (("conv8", 8), ("conv16", 16)):
            program = backend.load(Artefact(name, "tflite", (1, side, side, 3), data / f"{name}.tflite"))
            samples = program.measure(Slice(min_time_s=0.02))
            assert 0 < samples.times_ms[0] < 50
            assert samples.runs >= 3
        backend.close()
        assert phone.processes() == []


def test_a_phones_speed_can_wander(bench: Bench) -> None:
    bench.phone.slower_now = Wander(bench.time.clock)
    measured = bench.run(rounds=3).measurements
    visits = [(visit.median_ms, latency_us(unit.specs)) for unit in bench.units for visit in measured[unit.name].visits]
    factors = [time_ms * 1000 / true_us for time_ms, true_us in visits]
    assert 0.84 < min(factors) < max(factors) < 1.16
    assert max(factors) - min(factors) > 0.03
