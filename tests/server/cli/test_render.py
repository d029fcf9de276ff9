"""Tables at any width."""

import io

import pytest
from gpufleet_server.cli.render import Column, show, state, table
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

COLUMNS = [
    Column("NAME", lambda item: item["name"]),
    Column("STATE", lambda item: state(item["state"])),
    Column("POWER", lambda item: item["power"], 1, "right"),
    Column("NOTE", lambda item: item["note"], 2),
]
ITEMS = [
    {"name": "n1", "state": "not_reporting", "power": "698 W", "note": "x" * 30},
    {"name": "a-long-hostname-0017", "state": "lost", "power": "–", "note": ""},
]


def printed(width: int, *, terminal: bool) -> list[str]:
    """The lines of the table, as a terminal of this width or a file gets them."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=None, highlight=False)
    show(table(ITEMS, COLUMNS, width), console)
    return stream.getvalue().splitlines()


def test_a_wide_terminal_shows_all() -> None:
    """Every column, numbers to the right."""
    assert [line.rstrip() for line in printed(200, terminal=True)] == [
        "NAME                  STATE          POWER  NOTE",
        "n1                    not reporting  698 W  " + "x" * 30,
        "a-long-hostname-0017  lost               –",
    ]


@pytest.mark.parametrize(
    ("width", "headers"), [(80, "NAME STATE POWER NOTE"), (60, "NAME STATE POWER"), (40, "NAME STATE")]
)
def test_columns_go_by_rank(width: int, headers: str) -> None:
    """What matters least is dropped first, as a whole."""
    assert printed(width, terminal=True)[0].split() == headers.split()


@given(st.integers(8, 250))
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    """A row is one line, at any width."""
    lines = printed(width, terminal=True)
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= width


def test_a_file_gets_no_blanks_at_the_ends() -> None:
    """Nor is anything cut, as wide as it is."""
    lines = printed(10_000, terminal=False)
    assert lines == [line.rstrip() for line in lines]
    assert lines[1].endswith("x" * 30)


ELASTIC = [
    Column("NAME", lambda item: item["name"]),
    Column("NOTE", lambda item: item["note"], 1, least=10),
    Column("MEMORY", lambda item: item["power"] * 4, 3, "right", instead=Column("MEM", lambda item: item["power"], 2)),
]


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (100, "n1                    " + "x" * 30 + "  698 W698 W698 W698 W"),
        (60, "n1                    " + "x" * 30 + "  698 W"),
        (50, "n1                    " + "x" * 27 + "…"),
        (32, "n1                    xxxxxxxxx…"),
        (20, "n1"),
    ],
)
def test_columns_have_short_forms_and_text_is_cut(width: int, row: str) -> None:
    """A column that doesn't fit makes way for its short form; text that may be cut is cut before it goes."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None, highlight=False)
    show(table(ITEMS, ELASTIC, width), console)
    assert stream.getvalue().splitlines()[1] == row
