"""A session on the fake device under a clock of its own."""

from devices.fake import FakeBackend, FakeSettings
from lut.blocks import parse_block
from profiler.build.artefacts import SpecsFactory
from profiler.measure.plan import Unit, block_units
from profiler.measure.session import Sampling, Session
from profiler.measure.stopping import StopSettings

KEYS = (
    "conv-i3-o24-k3-s2-hswish@224",
    "mbconv-i24-o24-k3-e1-s1-relu-se0@112",
    "mbconv-i24-o32-k5-e4-s2-relu-se0@112",
    "mbconv-i32-o32-k7-e6-s1-relu-se0@56",
    "mbconv-i32-o48-k3-e3-s2-relu-se1@56",
    "head-i192-m1152-f1536-o1000-hswish@7",
)
SPECS = tuple(map(parse_block, KEYS))
BLOCKS = block_units(SPECS)
NETWORKS = (Unit("calibration", "small", SPECS[:3]), Unit("holdout", "large", SPECS))
UNITS = (*BLOCKS, *NETWORKS)
QUICK = Sampling(stop=StopSettings(min_rounds=4, max_rounds=8))


class Clock:
    """Seconds that only work and sleep make pass."""

    def __init__(self):
        self.now_s = 0.0
        self.slept_s = []

    def __call__(self):
        return self.now_s

    def work(self, seconds):
        self.now_s += seconds

    def sleep(self, seconds):
        self.slept_s.append(seconds)
        self.now_s += seconds


class Watcher:
    def __init__(self):
        self.done = self.more = 0.0
        self.notes = []

    def advance(self, amount=1.0, note=""):
        self.done += amount
        self.notes.append(note)

    def extend(self, amount):
        self.more += amount


class Setup:
    """Everything a session needs; `run` starts one."""

    def __init__(self, units=UNITS, **faults):
        self.clock = Clock()
        self.units = tuple(units)
        self.backend = FakeBackend(FakeSettings(**faults), pass_time=self.clock.work)
        factory = SpecsFactory(1)
        self.artefacts = {unit.name: factory.make(unit.name, unit.specs) for unit in self.units}
        self.watcher = Watcher()

    def session(self, sampling=QUICK, journal=None, **options):
        return Session(
            self.backend,
            self.units,
            self.artefacts.__getitem__,
            self.units[2].name,
            sampling=sampling,
            journal=journal,
            watcher=self.watcher,
            clock=self.clock,
            sleep=self.clock.sleep,
            **options,
        )

    def run(self, *args, **options):
        return self.session(*args, **options).run()

    def true_ms(self, name):
        return self.backend.true_ms(self.artefacts[name])
