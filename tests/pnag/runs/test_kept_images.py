from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pnag.errors import RunError
from pnag.runs.kept_images import images_kept, keep_images, load_images
from pnag.supernet.evaluation import calibration_batches
from tests.pnag.tiny import coloured_squares


def test_the_kept_images_are_those_of_the_data_set_bit_by_bit(tmp_path: Path) -> None:
    data = coloured_squares(n=200)
    assert keep_images(tmp_path / "images.npz", data) == len(data.train)
    kept = load_images(tmp_path / "images.npz", data.normalisation)
    asked = calibration_batches(data)
    assert [tuple(batch.shape) for batch in kept] == [tuple(batch.shape) for batch in asked]
    assert all(torch.equal(one, other) for one, other in zip(kept, asked, strict=True))


def test_large_images_are_fewer() -> None:
    assert images_kept(32) == 1024
    assert 3 * 224**2 * images_kept(224) <= 64 << 20
    assert images_kept(1000) == 128


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "images.npz").write_bytes(b"PK nothing")
    with pytest.raises(RunError, match=r"images.npz cannot be read .*--fresh"):
        load_images(tmp_path / "images.npz", coloured_squares().normalisation)
