import math
from dataclasses import replace

import numpy as np
import pytest

from devices.backend import Artefact
from devices.fake import FakeBackend, FakeSettings
from lut.entry import Entry
from lut.table import LatencyTable
from profiler.build.artefacts import SpecsFactory
from profiler.errors import ExportError, ProfilerError
from profiler.verification.pairs import Subject, nearest, speed_of, verify_in_pairs
from tests.tables import TINY as SPACE
from tests.tables import made_up_metadata

RNG = np.random.default_rng(5)
ARCHITECTURES = SPACE.decode(RNG.permutation(np.unique(SPACE.sample(60, RNG), axis=0))[:24])
FACTORY = SpecsFactory(1)
SLOWER = {"drift_at": 0, "drift_calls": 10**9}


def table_of(backend, architectures=ARCHITECTURES[4:]):
    """What a perfect session finds on an undisturbed device."""
    blocks = [Entry("block", b.key, backend.true_ms(FACTORY.make(b.key, (b,)))) for b in SPACE.blocks()]
    networks = []
    for index, architecture in enumerate(architectures):
        specs = SPACE.decompose(architecture)
        true_ms = backend.true_ms(FACTORY.make(str(architecture), specs))
        keys = tuple(spec.key for spec in specs)
        networks.append(Entry("holdout" if index % 3 == 0 else "calibration", str(architecture), true_ms, blocks=keys))
    return LatencyTable((*blocks, *networks), made_up_metadata(SPACE)).calibrated()


def subjects(architectures=ARCHITECTURES[:4]):
    chosen = [(str(architecture), SPACE.decompose(architecture)) for architecture in architectures]
    return [Subject(FACTORY.make(name, specs), specs) for name, specs in chosen]


@pytest.mark.parametrize("factor", [1.0, 1.3, 0.8])
def test_a_latency_at_the_tables_speed_does_not_depend_on_the_speed_now(factor):
    backend = FakeBackend(FakeSettings(drift_factor=factor, **SLOWER))
    results = verify_in_pairs(backend, subjects(), table_of(FakeBackend()), FACTORY)
    for result, subject in zip(results, subjects(), strict=True):
        true_ms = backend.true_ms(subject.artefact)
        assert result.name == subject.artefact.name
        assert result.now_ms == pytest.approx(factor * true_ms, rel=0.005)
        assert result.latency_ms == pytest.approx(true_ms, rel=0.005)
        assert result.interval_ms[0] < true_ms < result.interval_ms[1]
        assert result.interval_ms[1] / result.interval_ms[0] < 1.03
        assert result.slowdown == pytest.approx(factor - 1, abs=0.005)
        assert len(result.partners) == 8
        assert result.percentiles_ms["p50"] <= result.percentiles_ms["p90"] <= result.percentiles_ms["p99"]


def test_a_device_that_changes_its_speed_meanwhile_changes_nothing():
    backend = FakeBackend(FakeSettings(drift_at=150, drift_calls=120, drift_factor=1.4))
    for result, subject in zip(
        verify_in_pairs(backend, subjects(), table_of(FakeBackend()), FACTORY), subjects(), strict=True
    ):
        assert result.latency_ms == pytest.approx(backend.true_ms(subject.artefact), rel=0.01)


def test_partners_are_near_in_cost_and_in_make_up():
    table = table_of(FakeBackend())
    known = ARCHITECTURES[7]
    first, *others = nearest(table, SPACE.decompose(known), 8)
    assert first.block == str(known)
    assert len(others) == 7
    of_largest = nearest(table, SPACE.decompose(SPACE.extremes()[1]), 5)
    rest = [row.cost_ms for row in table.entries if row.blocks and row not in of_largest]
    assert np.mean([row.cost_ms for row in of_largest]) > np.mean(rest)


def test_a_network_that_the_table_has_is_measured_twice_under_two_names():
    backend = FakeBackend(FakeSettings(drift_factor=1.5, **SLOWER))
    table = table_of(FakeBackend())
    (result,) = verify_in_pairs(backend, subjects(ARCHITECTURES[9:10]), table, FACTORY)
    assert str(ARCHITECTURES[9]) in result.partners
    assert result.latency_ms == pytest.approx(backend.true_ms(subjects(ARCHITECTURES[9:10])[0].artefact), rel=0.005)


def test_without_networks_or_without_a_table_only_what_is_now_is_known():
    for table in (None, LatencyTable((), made_up_metadata(SPACE))):
        (result,) = verify_in_pairs(FakeBackend(), subjects()[:1], table, FACTORY)
        assert result.now_ms > 0
        assert (result.latency_ms, result.interval_ms, result.slowdown, result.partners) == (None, None, None, ())


def test_the_reference_block_is_a_partner_where_there_is_no_network():
    backend = FakeBackend(FakeSettings(drift_factor=1.5, **SLOWER))
    block = SPACE.blocks()[3]
    then_ms = backend.true_ms(FACTORY.make(block.key, (block,)))
    about = replace(
        made_up_metadata(SPACE), sampling={"quality": {"reference_block": block.key, "reference_ms": then_ms}}
    )
    (result,) = verify_in_pairs(backend, subjects()[:1], LatencyTable((), about), FACTORY)
    assert result.partners == (block.key,)
    assert result.slowdown == pytest.approx(0.5, abs=0.01)


def test_the_statistic_is_the_tables():
    table = table_of(FakeBackend())
    table = replace(table, metadata=replace(table.metadata, sampling={"statistic": "p90"}))
    (result,) = verify_in_pairs(FakeBackend(FakeSettings(noise=0.05)), subjects()[:1], table, FACTORY)
    assert result.measurement.estimator.name == "p90"
    assert result.now_ms == pytest.approx(result.percentiles_ms["p90"], rel=0.01)


def test_a_network_that_fails_has_a_reason_and_the_others_a_number():
    name = subjects()[1].artefact.name
    backend = FakeBackend(FakeSettings(fail_run=f"^{name}$"))
    results = verify_in_pairs(backend, subjects(), table_of(FakeBackend()), FACTORY)
    assert "failed to run" in results[1].failure
    assert math.isnan(results[1].now_ms)
    assert all(result.latency_ms > 0 for index, result in enumerate(results) if index != 1)


def test_partners_that_cannot_be_made_are_done_without():
    class Broken(SpecsFactory):
        def make(self, name: str, specs: object) -> Artefact:
            if name.startswith("3,3"):
                raise ExportError("no such operator")
            return super().make(name, specs)

    (result,) = verify_in_pairs(FakeBackend(), subjects()[:1], table_of(FakeBackend()), Broken(1))
    assert 0 < len(result.partners) < 8


def test_two_of_one_name_are_refused_and_none_is_nothing():
    with pytest.raises(ProfilerError, match="same name"):
        verify_in_pairs(FakeBackend(), subjects()[:1] * 2, None, FACTORY)
    assert verify_in_pairs(FakeBackend(), [], None, FACTORY) == []


def test_one_partner_that_is_wrong_does_not_spoil_the_speed():
    # 0.10, 0.11, 0.12 remain of five; the ends count in the spread as their neighbours
    speed, error = speed_of([0.12, 0.10, 0.11, 0.9, -0.5])
    assert speed == pytest.approx(0.11)
    assert error == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)
    assert speed_of([0.2], fallback=0.03) == (0.2, 0.03)
