"""What can go wrong with a phone, to order: each fault strikes once, at a moment that is counted, not timed."""

import threading
from dataclasses import dataclass, field

KINDS = ("drop", "vanish", "silence", "reboot", "full", "throttle", "garbage", "kill_tool")


@dataclass
class Fault:
    """`kind` strikes at the first event that fulfils all conditions given.

    `messages`: so many messages have arrived since it was ordered. `service`: a service is opened whose name
    contains this text (the `nth` such). `pushed_bytes`: so many bytes were pushed in one transfer.
    `attempts` is how many connections are turned away afterwards (-1: all), `readings` how many states are
    read before a hot phone has cooled down, `factor` how much slower it is meanwhile, `told` whether it shows in
    what the phone says of itself.
    """

    kind: str
    messages: int | None = None
    service: str | None = None
    nth: int = 1
    pushed_bytes: int | None = None
    attempts: int = 2
    readings: int = 3
    factor: float = 1.6
    told: bool = True
    seen: int = 0
    matched: int = 0

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind


@dataclass
class Faults:
    """The faults in waiting, and lasting conditions.

    `trust`: "all" lets every client in, "known" only keys in the phone's list. `tap`: what the person at the
    phone does when asked, "allow", "never" or "refuse"; `tap_gate` holds the answer back until it is set.
    """

    waiting: list[Fault] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    trust: str = "all"
    tap: str = "allow"
    tap_gate: threading.Event | None = None
    tls: bool = False
    crlf: bool = False
    no_output_end: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self, kind: str, **when: object) -> Fault:
        fault = Fault(kind, **when)  # type: ignore[arg-type]
        with self.lock:
            self.waiting.append(fault)
        return fault

    def due(self, *, service: str = "", pushed_bytes: int = 0, message: bool = False) -> list[Fault]:
        """The faults whose moment is this event; they are no longer waiting."""
        with self.lock:
            due = []
            for fault in self.waiting:
                fault.seen += message
                if fault.service is not None and service and fault.service in service:
                    fault.matched += 1
                if self._is_due(fault, service, pushed_bytes):
                    due.append(fault)
            for fault in due:
                self.waiting.remove(fault)
                self.struck.append(fault.kind)
            return due

    @staticmethod
    def _is_due(fault: Fault, service: str, pushed_bytes: int) -> bool:
        if fault.messages is not None and fault.seen < fault.messages:
            return False
        if fault.service is not None and not (service and fault.service in service and fault.matched >= fault.nth):
            return False
        if fault.pushed_bytes is not None:
            return pushed_bytes >= fault.pushed_bytes
        return True
