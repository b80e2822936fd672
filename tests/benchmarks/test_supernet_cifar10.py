import json

from benchmarks import supernet_cifar10
from pnag.accuracy.archive import AccuracyArchive
from pnag.space.spaces import load_space
from tests.pnag.data.test_load import png, write_parquet

SPACE = """
name = "small"
width = 0.25
depths = [1, 2]
kernels = [3, 5]
expands = [3, 4]
unit_channels = [24, 40]
unit_strides = [2, 2]
unit_activations = ["relu", "hswish"]
unit_squeeze_excite = [false, true]
final_expand_channels = 64
feature_channels = 64
"""


def test_trains_evaluates_and_finds_all_done_when_run_again(tmp_path, monkeypatch):
    labels = [i % 2 for i in range(300)]
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", [png(20 + 200 * label) for label in labels], labels)
    out, space = tmp_path / "out", tmp_path / "small.toml"
    space.write_text(SPACE)
    options = f"--data parquet:{tmp_path} --minutes 0.002 --threads 1 --architectures 10 --near 4 --space {space}"
    monkeypatch.setattr("sys.argv", ["supernet_cifar10", *options.split(), "--test-images", "20", "--out", str(out)])
    supernet_cifar10.main()
    archive = AccuracyArchive.load(out / "archive.parquet", load_space(str(space), resolution=32, classes=2))
    assert len(archive) == 14
    assert archive.split == "val"
    assert archive.test_accuracy is not None
    assert archive.source["data"]["test"] == 20
    assert archive.source["recipe"] == json.loads((out / "recipe.json").read_text())
    assert (out / "supernet.png").stat().st_size > 10_000
    before = (out / "supernet.safetensors").stat().st_mtime_ns
    supernet_cifar10.main()
    assert (out / "supernet.safetensors").stat().st_mtime_ns == before
