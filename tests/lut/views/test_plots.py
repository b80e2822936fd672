import numpy as np
import pytest
from matplotlib.figure import Figure

from lut import Entry, LatencyTable, LutError
from lut.compare import compare
from lut.views.plots import draw_costs, draw_predictions, plot_difference, plot_table
from pnag.space.spaces import load_space
from tests.tables import made_up_metadata, made_up_table


def test_a_table_is_drawn_to_a_file(tmp_path):
    path = tmp_path / "t.svg"
    plot_table(made_up_table(), path)
    assert path.stat().st_size > 20_000
    assert list(tmp_path.iterdir()) == [path]


def test_two_tables_are_drawn_to_a_file(tmp_path):
    table = made_up_table()
    plot_difference(compare(table, table), ("one", "the other"), tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_the_heat_map_shows_every_unit_block_with_its_cost():
    table = made_up_table()
    axes = Figure().add_subplot()
    draw_costs(axes, table)
    (image,) = axes.images
    assert image.get_array().shape == (10, 9)
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["3×3\nexpand 3", "5×5\nexpand 3"]
    first = table.costs_ms["mbconv-i24-o32-k3-e3-s2-relu-se0@112"]
    assert axes.texts[0].get_text() == f"{first:.3g}"
    assert len(axes.texts) == 90


def test_the_heat_map_leaves_a_gap_for_a_failed_block():
    table = made_up_table()
    kept = tuple(e for e in table.entries if e.block != "mbconv-i24-o32-k3-e3-s2-relu-se0@112")
    axes = Figure().add_subplot()
    draw_costs(axes, LatencyTable(kept, table.metadata))
    assert axes.texts[0].get_text() == "–"
    assert np.ma.count_masked(axes.images[0].get_array()) == 1


def test_predictions_show_both_sets_of_networks():
    axes = Figure().subplots(2)
    draw_predictions(axes, made_up_table())
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == ["used in calibration (12)", "unseen (8)", "measured = predicted", "±5 %"]


def test_a_table_without_unit_blocks_cannot_be_drawn(tmp_path):
    stem = Entry("block", "conv-i3-o24-k3-s2-hswish@224", latency_ms=1.0, cost_ms=1.0)
    table = LatencyTable((stem,), made_up_metadata(load_space()))
    with pytest.raises(LutError, match="no blocks of units"):
        plot_table(table, tmp_path / "t.png")
    assert list(tmp_path.iterdir()) == []


def test_a_single_network_can_be_drawn():
    axes = Figure().subplots(2)
    draw_predictions(axes, made_up_table(calibration=0, holdout=1))
    low, high = axes[0].get_xlim()
    assert low < high


def test_a_suffix_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(LutError, match="no picture"):
        plot_table(made_up_table(), tmp_path / "t.docx")
