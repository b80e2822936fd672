from __future__ import annotations

from pathlib import Path

import numpy as np

from pnag.runs.plots import PlottedNetwork, plot_networks


def test_a_picture_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "networks.png"
    plot_networks(
        path,
        archive_ms=np.linspace(10, 50, 20),
        archive_accuracy=np.linspace(0.7, 0.8, 20),
        frontier=[PlottedNetwork(b, b - 0.1, 0.7 + b / 500) for b in (10.0, 30.0, 50.0)],
        networks=[PlottedNetwork(30, 29.5, 0.79, measured_ms=29.1), PlottedNetwork(40, 39.5, 0.8)],
        title="a table",
    )
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["networks.png"]
