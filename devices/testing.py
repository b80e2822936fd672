"""The contract of back-ends as tests: what every one of them must do. A back-end of yours subclasses the suite.

    from devices.testing import BackendContract

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self): ...    # open; closed by the fixture
        @pytest.fixture
        def artefact(self): ...   # one that runs
        @pytest.fixture
        def other(self): ...      # a second one, slower
        @pytest.fixture
        def broken(self): ...     # one that the runtime must refuse, at loading or at measuring

Needs pytest, which is no dependency of the program itself.
"""

import json
import math

import pytest

from devices import Artefact, Backend, DeviceInfo, DeviceState, Program, Slice
from devices.errors import MeasurementError

QUICK = Slice(min_time_s=0.0, min_runs=3, warmup_runs=2)


class BackendContract:
    """Subclass it and give the fixtures `backend`, `artefact`, `other` and `broken`."""

    def test_it_is_a_backend(self, backend: Backend) -> None:
        """Right after opening: it has the protocol's methods, and names a format that can be built."""
        assert isinstance(backend, Backend)
        assert backend.artefact_format in ("onnx", "tflite", "torch", "specs")

    def test_the_device_is_identified_in_json_values(self, backend: Backend) -> None:
        """`device()` is asked before anything is built and again at the end: the same answer, as JSON values."""
        found = backend.device()
        assert isinstance(found, DeviceInfo)
        assert found.kind
        assert found.model
        assert json.loads(json.dumps(dict(found.fields), allow_nan=False)) == dict(found.fields)
        assert backend.device() == found

    def test_the_runtime_says_name_version_threads_and_precision(self, backend: Backend) -> None:
        """`runtime()` goes into the table's metadata, and decides whether a journal may be continued."""
        runtime = dict(backend.runtime())
        assert {"name", "version", "threads", "precision"} <= set(runtime)
        assert json.loads(json.dumps(runtime, allow_nan=False)) == runtime

    def test_the_state_is_readable_at_any_time(self, backend: Backend) -> None:
        """`state()` is called between visits: a number is finite or None, never an error."""
        state = backend.state()
        assert isinstance(state, DeviceState)
        for value in (state.temperature_c, state.clock_mhz, state.load):
            assert value is None or math.isfinite(value)

    def test_samples_are_positive_times_with_warm_ups_apart(self, backend: Backend, artefact: Artefact) -> None:
        """`load`, `measure`, `close`: one visit. Warm-ups are not among the times."""
        program = backend.load(artefact)
        assert isinstance(program, Program)
        samples = program.measure(QUICK)
        program.close()
        assert len(samples.times_ms) >= 1
        assert samples.runs >= QUICK.min_runs
        assert all(time_ms > 0 and math.isfinite(time_ms) for time_ms in samples.times_ms)
        assert all(time_ms > 0 for time_ms in samples.warmup_ms)

    def test_a_slice_asks_for_at_least_so_many_runs(self, backend: Backend, artefact: Artefact) -> None:
        """A visit is as long as it was asked to be."""
        program = backend.load(artefact)
        samples = program.measure(Slice(min_time_s=0.0, min_runs=7, warmup_runs=1))
        program.close()
        assert samples.runs >= 7

    def test_programs_can_be_measured_in_turn(self, backend: Backend, artefact: Artefact, other: Artefact) -> None:
        """A session keeps many programs loaded and visits them in turn."""
        programs = [backend.load(artefact), backend.load(other)]
        for _ in range(2):
            for program in programs:
                assert program.measure(QUICK).times_ms
        for program in programs:
            program.close()

    def test_closing_twice_is_harmless_and_measuring_afterwards_an_error(
        self, backend: Backend, artefact: Artefact
    ) -> None:
        """A program is closed when memory is short, and perhaps again at the end."""
        program = backend.load(artefact)
        program.close()
        program.close()
        with pytest.raises(MeasurementError):
            program.measure(QUICK)

    def test_what_cannot_run_is_a_measurement_error_of_one_line(self, backend: Backend, broken: Artefact) -> None:
        """A failed block is a row with a reason: the reason is one line."""
        with pytest.raises(MeasurementError) as caught:
            backend.load(broken).measure(QUICK)
        assert len(str(caught.value).splitlines()) == 1

    def test_it_gets_ready_in_the_time_that_there_is(self, backend: Backend, artefact: Artefact) -> None:
        """`get_ready` is called once, before the first `load`; with no time at all it only looks."""
        backend.get_ready(0.0)
        assert backend.load(artefact).measure(QUICK).times_ms

    def test_it_goes_on_after_a_failure(self, backend: Backend, broken: Artefact, artefact: Artefact) -> None:
        """One failed block does not end a session."""
        with pytest.raises(MeasurementError):
            backend.load(broken).measure(QUICK)
        program = backend.load(artefact)
        assert program.measure(QUICK).times_ms
        program.close()

    def test_closing_the_back_end_twice_is_harmless(self, backend: Backend) -> None:
        """The back-end is closed at the end, whatever happened before."""
        backend.close()
        backend.close()
