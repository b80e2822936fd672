"""From blocks measured alone to networks: the calibration, its judgement on unseen networks, and the margin it leaves.

In come latencies of blocks and of whole networks. Out go costs that add up, and the fidelity with which they do.
"""

from lut.calibration.fit import Calibration, Fidelity, NetworkMeasurement, fit_calibration, judge, upper_margin

__all__ = ["Calibration", "Fidelity", "NetworkMeasurement", "fit_calibration", "judge", "upper_margin"]
