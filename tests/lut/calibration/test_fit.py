import math

import pytest
from scipy.special import stdtrit

from lut.blocks import parse_block
from lut.calibration.fit import Calibration, NetworkMeasurement, fit_calibration, judge, upper_margin
from lut.calibration.ranks import rank_correlation
from lut.calibration.student_t import student_t_quantile
from lut.errors import CalibrationError


def networks(*rows):
    return [NetworkMeasurement(f"n{i}", tuple(blocks), ms) for i, (blocks, ms) in enumerate(rows)]


def test_without_three_networks_costs_are_latencies():
    calibration, costs = fit_calibration({"a": 1.0, "b": 2.0}, networks(("ab", 9.0), ("a", 4.0)))
    assert calibration == Calibration() or math.isnan(calibration.loo_mape)
    assert (calibration.scale, calibration.intercept_ms, calibration.networks) == (1.0, 0.0, 0)
    assert costs == {"a": 1.0, "b": 2.0}


def test_an_exact_scale_and_intercept_are_found():
    latency = {"a": 1.0, "b": 2.0, "c": 4.0}
    # measured = 1.5 · sum + 3
    rows = networks(("a", 4.5), ("b", 6.0), ("c", 9.0), ("ab", 7.5), ("bc", 12.0))
    calibration, costs = fit_calibration(latency, rows)
    for blocks, ms in (("a", 4.5), ("abc", 13.5), ("cc", 15.0)):
        assert calibration.intercept_ms + sum(costs[b] for b in blocks) == pytest.approx(ms, rel=1e-4)
    assert calibration.networks == 5
    assert calibration.loo_mape < 1e-3


def test_no_block_becomes_free_or_negative():
    latency = {"a": 1.0, "b": 1.0, "c": 1.0}
    rows = networks(*[("a" * i + "b" * j + "c", 5.0 * i + 0.001 * j + 1) for i in range(4) for j in range(4)])
    _, costs = fit_calibration(latency, rows)
    assert all(cost > 0 for cost in costs.values())


@pytest.mark.parametrize("ms", [0.0, -1.0, math.nan, math.inf])
def test_a_network_without_a_real_latency_is_refused(ms):
    with pytest.raises(CalibrationError, match="n2"):
        fit_calibration({"a": 1.0}, networks(("a", 1.0), ("aa", 2.0), ("aaa", ms)))


def test_a_network_of_unmeasured_blocks_is_refused():
    with pytest.raises(CalibrationError, match="block z"):
        fit_calibration({"a": 1.0}, networks(("a", 1.0), ("aa", 2.0), ("az", 2.0)))


def test_fidelity_by_hand():
    fidelity = judge([100.0, 100.0, 104.0, 112.0], [100.0, 104.0, 100.0, 100.0])
    errors = [0.0, 1 - 100 / 104, 0.04, 0.12]
    assert fidelity is not None
    assert fidelity.n == 4
    assert fidelity.mape == pytest.approx(sum(errors) / 4)
    assert (fidelity.within_3, fidelity.within_5, fidelity.within_10) == (0.25, 0.75, 0.75)
    assert fidelity.worst == pytest.approx(0.12)
    assert fidelity.residuals == pytest.approx((0.0, 0.04, 100 / 104 - 1, 100 / 112 - 1))


def test_nothing_to_judge_is_none():
    assert judge([], []) is None


def test_one_network_has_no_spread():
    fidelity = judge([10.0], [11.0])
    assert fidelity is not None
    assert math.isnan(fidelity.residual_std)
    assert math.isnan(fidelity.rank_correlation)


def test_upper_margin_by_hand():
    # mean 0.01, s = 0.01; t(0.95, 2) = 2.919986; 0.01 + 2.919986 · 0.01 · √(4/3)
    assert upper_margin((0.0, 0.01, 0.02), 0.95) == pytest.approx(0.01 + 2.919986 * 0.01 * math.sqrt(4 / 3), rel=1e-6)


def test_upper_margin_grows_with_confidence_and_never_falls_below_zero():
    residuals = (-0.01, 0.0, 0.01, 0.02)
    margins = [upper_margin(residuals, p) for p in (0.5, 0.9, 0.95, 0.99)]
    assert margins == sorted(margins)
    assert upper_margin((-0.2, -0.2, -0.21), 0.9) == 0.0
    assert upper_margin((), 0.95) == upper_margin((0.1,), 0.95) == 0.0


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 2.0, math.nan])
def test_a_confidence_outside_0_to_1_is_refused(confidence):
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        upper_margin((0.0, 0.1), confidence)


def test_rank_correlation_by_hand_with_ties_at_their_mean_rank():
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert math.isnan(rank_correlation([1, 1], [1, 2]))
    assert math.isnan(rank_correlation([1], [1]))


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [  # from printed tables
        (0.95, 1, 6.3138), (0.95, 2, 2.9200), (0.975, 3, 3.1824), (0.90, 10, 1.3722), (0.99, 19, 2.5395),
        (0.995, 30, 2.7500), (0.5, 7, 0.0), (0.05, 2, -2.9200), (0.75, 4, 0.7407),
    ],
)  # fmt: skip
def test_students_t_as_tables_print_it(probability, degrees, value):
    assert student_t_quantile(probability, degrees) == pytest.approx(value, abs=6e-5)


def test_students_t_as_scipy_has_it():
    for degrees in (1, 2, 3, 8, 19, 59, 240):
        for probability in (1e-6, 0.2, 0.6, 0.95, 0.999, 1 - 1e-9):
            expected = stdtrit(degrees, probability)
            assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-6)


def test_weights_that_come_from_memory_in_a_network_are_found():
    keys = [f"head-i8-m{8 * m}-f{8 * f}-o10-hswish@7" for m in (10, 40, 90) for f in (10, 50, 120)]
    latency = {key: 0.1 + 0.03 * i for i, key in enumerate(keys)}
    # measured = 1.2 · latency + 0.5 ms a million weights + 0.2
    rows = [
        (blocks, 0.2 + sum(1.2 * latency[b] + 0.5 * parse_block(b).params / 1e6 for b in blocks))
        for blocks in ([keys[i % 9], keys[(3 * i + 2) % 9], *keys[: i % 4]] for i in range(14))
    ]
    calibration, costs = fit_calibration(latency, networks(*rows))
    assert calibration.per_mega_weight_ms == pytest.approx(0.5, rel=1e-3)
    assert calibration.scale == pytest.approx(1.2, rel=1e-3)
    for key in keys:
        assert costs[key] == pytest.approx(1.2 * latency[key] + 0.5 * parse_block(key).params / 1e6, rel=1e-2)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 19, 20, 59, 400])
def test_students_t_agrees_with_scipy(degrees):
    for probability in (0.01, 0.3, 0.5, 0.6, 0.9, 0.95, 0.999):
        expected = stdtrit(degrees, probability)
        assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-8, abs=1e-9)
