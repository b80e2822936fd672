"""From a phone to a network measured on it, by the commands alone; TensorFlow Lite runs the models on this computer."""

from pathlib import Path

import numpy as np
import pytest

import profiler.cli
from lut.table import LatencyTable
from pnag import cli_generate, cli_train
from pnag.accuracy.archive import AccuracyArchive
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from profiler.build.parity import run_file
from tests.phone import FakePhone
from tests.phone.fixtures import phone_spec
from tests.pnag.commands import runner

# 11 blocks, 20 networks: converting them is what takes time here
SPACE = SearchSpace(
    "small", 1.0, resolution=96, classes=10, depths=(1, 2), kernels=(3, 5), expands=(3, 6), unit_channels=(24,),
    unit_strides=(2,), unit_activations=("hswish",), unit_squeeze_excite=(True,), final_expand_channels=64,
    feature_channels=64,
)  # fmt: skip
SPEC = phone_spec(
    block_s=0.02,
    network_s=0.02,
    reference_s=0.02,
    warm_up_s=0.1,
    min_rounds=3,
    max_rounds=3,
    segment_s=5.0,
    max_wait_s=2.0,
)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_profile_train_generate_verify(
    tmp_path: Path, tool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profiler.cli, "load_space", lambda *_, **__: SPACE)
    Path("phone.toml").write_text(SPEC)
    profile, train, generate = (
        runner(main, capsys, monkeypatch) for main in (profiler.cli.main, cli_train.main, cli_generate.main)
    )
    with FakePhone(tmp_path / "phone", real=True) as phone:
        reach = ("--adb", phone.address, "--benchmark-model", tool)
        # Two networks are too few to calibrate by: on a busy computer a fit would follow the noise.
        sizes = ("--calibrate", 2, "--holdout", 1)
        profiled = profile("--device", "phone.toml", *reach, *sizes, "--json")
        assert profiled.code == 0, profiled.err
        table = LatencyTable.load("lut/phone.parquet")
        assert (profiled.document["blocks"], profiled.document["failed"]) == (11, [])
        assert all(entry.latency_ms > 0 for entry in table.entries)
        assert [len(table.networks(role)) for role in ("calibration", "holdout")] == [2, 1]

        costs = SPACE.cost_model(table)
        tokens = np.unique(SPACE.sample(200, np.random.default_rng(0)), axis=0)
        AccuracyArchive(SPACE, tokens, 0.5 + 0.4 * _rank(costs(tokens))).save("accuracies.csv")
        trained = train("--lut", "lut/phone.parquet", "--accuracy", "accuracies.csv", "--method", "random", "--json")
        assert trained.code == 0, trained.err
        assert trained.document["table_sha256"] == table.content_sha256

        low, high = costs.range_ms
        budget_ms = 0.99 * high
        generated = generate(f"{budget_ms}ms", "--export", "net.tflite", "--verify", "phone.toml", *reach, "--json")
        assert generated.code == 0, generated.err
        assert phone.processes() == []
    (network,) = generated.document["networks"]
    blocks = SPACE.decompose(Architecture.parse(network["architecture"]))
    assert network["cost_ms"] == pytest.approx(table.cost_ms(blocks))
    assert low <= network["cost_ms"] <= high
    assert run_file(Path("net.tflite"), np.zeros((1, 3, 96, 96), np.float32)).shape == (1, 10)
    assert network["device"] == "Fake Loopback 821 (MSM8996pro)"
    assert network["measured_with"] == {"batch": 1, "threads": 1, "precision": "float32"}
    assert 0 < network["measured_ms"] < 1000
    assert network["kept"] == (network["measured_ms"] <= budget_ms)
    assert "measured unlike" not in generated.err


def _rank(values: np.ndarray) -> np.ndarray:
    """0 for the least, 1 for the greatest."""
    return values.argsort().argsort() / (len(values) - 1)
