"""The use of a GPU is the same in SQL as the server tells it."""

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_dashboards.statements.use import NEEDED, use_of_sample
from gpufleet_server.domain import use
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dashboards.statements.conftest import Database

# About the bounds, and absent ones.
_STORED = {
    name: st.sampled_from([0, 1, 99, 100, 101, 10_000, BY_NAME[name].absent(Reason.UNSUPPORTED)])
    if BY_NAME[name].width == 2
    else st.sampled_from([0, 1024 * 1024, 1024 * 1024 + 1, BY_NAME[name].absent(Reason.LOST)])
    for name in NEEDED
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(_STORED), min_size=1, max_size=40))
def test_the_use_is_what_the_server_says(database: Database, rows: list[dict[str, int]]) -> None:
    """Of any samples, absent values among them."""
    values = ", ".join(
        f"({place}, {', '.join(_in_sql(name, row[name]) for name in NEEDED)})" for place, row in enumerate(rows)
    )
    sql = f"SELECT {use_of_sample()} FROM (VALUES {values}) AS told (place, {', '.join(NEEDED)}) ORDER BY place"
    stored = {name: np.array([row[name] for row in rows], np.int64) for name in NEEDED}
    assert [row[0] for row in database.execute(sql.encode())] == use.use(stored).tolist()


def _in_sql(name: str, stored: int) -> str:
    value = BY_NAME[name].value(stored)
    return "NULL::float8" if value is None else f"{value}::float8"
