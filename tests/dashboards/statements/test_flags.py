"""What held clocks down, from the driver's flags."""

import pytest
from gpufleet_dashboards.statements.flags import REASONS, bit, faults, held_down

from tests.dashboards.statements.conftest import Database


@pytest.mark.parametrize(
    ("names", "level"),
    [
        ((), 0),
        (("idle", "application clocks setting", "sync boost"), 0),
        (("software power cap", "idle"), 1),
        (("software power cap", "software thermal slowdown"), 2),
        (("hardware power brake slowdown", "software power cap", "software thermal slowdown"), 3),
    ],
)
def test_the_gravest_reason_counts(database: Database, names: tuple[str, ...], level: int) -> None:
    """Idle GPUs are not held down; heat goes before a power cap, and the hardware before heat."""
    reasons = sum(bit(REASONS, name) for name in names)
    (row,) = database.execute(f"SELECT {held_down(f'{reasons}::bigint')}".encode())
    assert row == (level,)


def test_what_is_not_known_is_nothing(database: Database) -> None:
    """A GPU that does not tell is not one that nothing holds down."""
    assert database.execute(f"SELECT {held_down('NULL::bigint')}".encode()).fetchall() == [(None,)]


def test_a_flag_that_is_renamed_fails() -> None:
    """Boards name the driver's flags by the catalogue's words."""
    assert set(faults()) < {word for _, word in REASONS.flags}
    with pytest.raises(KeyError):
        bit(REASONS, "software warmth slowdown")
