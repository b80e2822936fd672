"""Latency tables that others published: their sums for a network that its authors measured."""

from pathlib import Path

import pytest

from lut.exchange import import_table, resolutions_in
from pnag.space.architecture import Architecture
from pnag.space.spaces import load_space
from tests.tables import made_up_metadata

NOTE10 = Path(__file__).parents[3] / "shared" / "data" / "note10"
FILES = [NOTE10 / f"{side}_lookup_table.yaml" for side in (160, 176, 192, 208, 224)]
# Specialised for a Samsung Note10 at 30 ms by once-for-all's authors, 78.4 % top-1 at 224 pixels.
PUBLISHED = "2,3,3,3,4:3,3,0,0,5,3,3,0,5,5,3,0,3,3,3,0,3,3,3,3:3,3,0,0,4,3,4,0,4,4,3,0,6,4,4,0,6,6,4,3"

pytestmark = pytest.mark.skipif(not FILES[0].is_file(), reason="the published tables are not at hand")


def test_a_published_network_costs_what_its_authors_say() -> None:
    space = load_space("ofa-mbv3-w1.2")
    imported = import_table(FILES[-1], space.blocks(), made_up_metadata(space))
    assert imported.missing == ()
    assert imported.table.cost_ms(space.decompose(Architecture.parse(PUBLISHED))) == pytest.approx(29.965, abs=5e-4)


def test_five_tables_make_one_that_differs_by_shared_blocks_only() -> None:
    sides = resolutions_in(FILES)
    assert sides == (160, 176, 192, 208, 224)
    space = load_space("ofa-mbv3-w1.2", resolution=sides)
    imported = import_table(FILES, space.blocks(), made_up_metadata(space))
    assert imported.missing == ()
    assert len(imported.repeated) == 20
    assert imported.spread < 0.01
    cost = imported.table.cost_ms(space.decompose(Architecture.parse(PUBLISHED + "@224")))
    assert cost == pytest.approx(29.965, rel=3e-4)
