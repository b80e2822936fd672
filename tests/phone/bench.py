"""Measuring sessions on a fake phone whose true times are known."""

import math
from pathlib import Path

from devices import Slice, load_spec
from devices.android.adb.session import Patience
from devices.android.opening import open_android
from pnag.space.spaces import load_space
from profiler.measure.journal import Journal
from profiler.measure.plan import block_units
from profiler.measure.session import REFERENCE, Sampling, Session, SessionResult
from profiler.measure.stopping import StopSettings
from tests.phone.models import PhoneModels, latency_us
from tests.phone.phone import FakePhone
from tests.phone.time import FakeTime
from tests.phone.tool import fake_tool

SPACE = load_space("ofa-mbv3-w1.2", resolution=32, classes=10)


class Bench:
    """Sessions over some blocks on one phone, on a clock that moves only when somebody sleeps."""

    def __init__(self, phone: FakePhone, folder: Path, home: Path) -> None:
        self.phone, self.folder, self.home = phone, folder, home
        self.units = block_units(SPACE.blocks()[3:60:12])
        self.time = FakeTime()

    def run(self, *, silence_s: float = 10.0, allow_s: float = 5.0, rounds: int = 2) -> SessionResult:
        patience = Patience(allow_s=allow_s, silence_s=silence_s, resume_s=60.0, attempts=4)
        backend = open_android(
            load_spec("snapdragon821"),
            adb=self.phone.address,
            benchmark_model=fake_tool(self.folder / "benchmark_model"),
            home=self.home,
            patience=patience,
            announce=lambda _: None,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )
        models = PhoneModels(self.folder / "models")
        artefacts = {unit.name: models.make(unit.name, unit.specs) for unit in self.units}
        quick = Slice(min_time_s=0.01)
        sampling = Sampling(
            quick,
            quick,
            quick,
            warm_up_s=0.0,
            segment_s=0.05,
            max_wait_s=60.0,
            stop=StopSettings(1.0, rounds, 2 * rounds),
        )
        try:
            with Journal(self.folder / "journal", "phone") as journal:
                session = Session(
                    backend,
                    self.units,
                    artefacts.__getitem__,
                    self.units[2].name,
                    sampling=sampling,
                    journal=journal,
                    clock=self.time.clock,
                    sleep=self.time.sleep,
                )
                return session.run()
        finally:
            backend.close()

    def visits_on_disk(self) -> int:
        """How many finished visits the journal holds."""
        path = self.folder / "journal"
        text = path.read_text() if path.exists() else ""
        return text.count('"unit"') - text.count(f'"unit": "{REFERENCE}"')

    def worst_error(self, result: SessionResult) -> float:
        """Largest relative difference to the time that the phone takes; infinite if a block is missing."""
        if not result.complete or any(result.measurements[unit.name].failure for unit in self.units):
            return math.inf
        pairs = [(result.measurements[unit.name].latency_ms * 1000, latency_us(unit.specs)) for unit in self.units]
        return max(abs(measured / true - 1) for measured, true in pairs)

    def check(self, result: SessionResult, within: float = 0.02) -> None:
        """Every block is there, with the time that the phone takes for it, and nothing runs any more."""
        assert self.worst_error(result) < within
        assert self.phone.processes() == []
