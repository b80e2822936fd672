"""A clock that moves only when somebody sleeps."""

import time

_REAL_S = 0.005  # lets the phone's own processes run


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.naps.append(seconds)
        time.sleep(min(seconds, _REAL_S))
