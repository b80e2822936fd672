import pytest

from devices import Artefact, DeviceSpec, Slice, open_backend
from devices.errors import ConnectionLostError, DeviceOptionError, MeasurementError
from devices.fake import FakeBackend, FakeSettings
from devices.testing import BackendContract
from lut.blocks import parse_block

BLOCK = parse_block("mbconv-i24-o32-k5-e4-s2-relu-se0@112")
LATER = parse_block("mbconv-i32-o32-k7-e6-s1-relu-se0@56")


def artefact(*specs, name=None):
    return Artefact(name or specs[0].key, "specs", (1, *specs[0].input_shape), module=tuple(specs))


class TestFake(BackendContract):
    @pytest.fixture
    def backend(self):
        backend = FakeBackend(FakeSettings(fail_run="broken"))
        yield backend
        backend.close()

    @pytest.fixture
    def artefact(self):
        return artefact(BLOCK)

    @pytest.fixture
    def other(self):
        return artefact(LATER)

    @pytest.fixture
    def broken(self):
        return Artefact("broken", "onnx", (1, 3, 8, 8))


def run(backend, of, runs=4):
    return backend.load(of).measure(Slice(min_time_s=0.0, min_runs=runs)).times_ms


def test_the_same_seed_gives_the_same_samples():
    assert run(FakeBackend(), artefact(BLOCK)) == run(FakeBackend(), artefact(BLOCK))
    assert run(FakeBackend(), artefact(BLOCK)) != run(FakeBackend(FakeSettings(seed=1)), artefact(BLOCK))


def test_a_network_takes_the_scaled_sum_of_its_blocks_and_an_offset():
    backend = FakeBackend(FakeSettings(network_spread=0.0))
    alone = backend.true_ms(artefact(BLOCK)) + backend.true_ms(artefact(LATER))
    assert backend.true_ms(artefact(BLOCK, LATER, name="network")) == pytest.approx(0.95 * alone + 0.2)


def test_files_of_any_format_are_accepted_without_being_opened():
    assert run(FakeBackend(), Artefact("network.tflite", "tflite", (1, 224, 224, 3)))


def test_drift_lasts_as_many_calls_as_ordered_and_is_told():
    backend = FakeBackend(FakeSettings(noise=0.0, drift_at=2, drift_calls=2, drift_factor=1.5, drift_is_told=True))
    program = backend.load(artefact(BLOCK))
    states, times = [], []
    for _ in range(5):
        states.append(backend.state().throttled)
        times.append(program.measure(Slice(min_runs=1)).times_ms[0])
    usual = backend.true_ms(artefact(BLOCK))
    assert times == pytest.approx([usual, usual, 1.5 * usual, 1.5 * usual, usual])
    assert states == [False, False, True, True, False]


def test_a_lost_connection_is_lost_once():
    backend = FakeBackend(FakeSettings(lose_at=1))
    program = backend.load(artefact(BLOCK))
    program.measure(Slice())
    with pytest.raises(ConnectionLostError):
        program.measure(Slice())
    assert program.measure(Slice()).times_ms


def test_artefacts_can_be_refused_at_loading():
    with pytest.raises(MeasurementError, match="refuses"):
        FakeBackend(FakeSettings(fail_load="k5")).load(artefact(BLOCK))


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(DeviceOptionError, match=r"no option speed; known are .*drift_at"):
        open_backend(DeviceSpec("fake", "fake", "fake", options={"speed": 3}))
