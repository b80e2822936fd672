"""A clock that wanders within seconds, as a phone's governor has it: straight from one chance to the next."""

from bisect import bisect_right
from collections.abc import Callable

import numpy as np


class Wander:
    """How many times as long things take at a moment: between 1 - `width` and 1 + `width`, a new aim every 1 to 4 s."""

    def __init__(self, clock: Callable[[], float], *, width: float = 0.15, seed: int = 0) -> None:
        self._clock, self._width, self._rng = clock, width, np.random.default_rng(seed)
        self._at_s, self._factors = [0.0], [1.0]

    def __call__(self) -> float:
        now_s = self._clock()
        while self._at_s[-1] <= now_s:
            self._at_s.append(self._at_s[-1] + float(self._rng.uniform(1.0, 4.0)))
            self._factors.append(1 + float(self._rng.uniform(-self._width, self._width)))
        after = bisect_right(self._at_s, now_s)
        return float(np.interp(now_s, self._at_s[after - 1 : after + 1], self._factors[after - 1 : after + 1]))
