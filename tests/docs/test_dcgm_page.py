"""docs/dcgm-exporter.md names what `--dcgm-names` serves, and all that it does not."""

import re
from pathlib import Path

from gpufleet_agent.dcgm_names import SERIES, XID_LAST, XID_TOTAL

from tests.agent.dcgm_exporter import DEFAULT, OPTIONAL

PAGE = (Path(__file__).parents[2] / "docs" / "dcgm-exporter.md").read_text()
SERVED, LEFT_OUT = PAGE.split("## What is left out")
# One row a name, and of several names their type by the exporter's own list.
UNITS = {one.name: one.unit for one in SERIES} | {XID_LAST: "XID", XID_TOTAL: "count"}
SOURCES = {one.name: one.sources for one in SERIES}


def test_every_name_that_is_served_is_there_as_it_is_served() -> None:
    """With its unit, its type and the metrics it is made of, marked where the exporter has it commented out."""
    rows = re.findall(r"^\| `(DCGM_\w+)` \| (.*?) \| (\w+) \| (.*?) \| (.*) ?\|$", SERVED, re.MULTILINE)
    assert {name: unit for name, unit, *_ in rows} == UNITS
    assert {name: kind for name, _, kind, *_ in rows} == {name: (DEFAULT | OPTIONAL)[name] for name in UNITS}
    found = {name: tuple(re.findall(r"`(\w+)`", origin)) for name, _, _, origin, _ in rows}
    assert {name: found[name] for name in SOURCES} == SOURCES
    assert {name for name, *_, remark in rows if remark.startswith("○")} == set(UNITS) & set(OPTIONAL)


def test_every_other_row_of_the_exporter_is_told_to_be_left_out() -> None:
    """Nothing is passed over in silence, and nothing that is served is said to be left out."""
    first_cells = " ".join(line.split("|")[1] for line in LEFT_OUT.splitlines() if line.startswith("|"))
    told = set(re.findall(r"`(DCGM_\w+)`", first_cells))
    assert told >= {name for name, kind in (DEFAULT | OPTIONAL).items() if kind != "label"} - set(UNITS)
    assert not told & set(UNITS)
