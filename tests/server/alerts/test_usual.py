"""What is usual: arrays and the database say the same of any fleet."""

import numpy as np
from gpufleet_server.alerts import usual
from gpufleet_server.alerts.given import given
from gpufleet_server.alerts.predicate import Values
from gpufleet_server.store.engine import Store
from hypothesis import HealthCheck, settings
from hypothesis import given as made
from hypothesis import strategies as st
from sqlalchemy import BigInteger, select

_Gpu = tuple[int, int, int | None, int | None]
_FLEETS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.none() | st.integers(0, 1), st.none() | st.integers(0, 2)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@made(fleet=_FLEETS)
def test_arrays_and_the_database_say_the_same(
    store: Store, fleet: list[tuple[int, int, int | None, int | None]]
) -> None:
    """Of sites, models, another kind and values, each of which may be unknown but the places."""
    columns = list(zip(*fleet, strict=True))
    site, model = (np.array(column, np.int64) for column in columns[:2])
    kind, own = (_values(column) for column in columns[2:])
    found = usual.by_arrays((site, model), [kind], own)
    names = ("gpu_id", "site", "model", "kind", "value")
    rows = {name: (BigInteger(), values) for name, values in zip(names, [range(len(fleet)), *columns], strict=True)}
    relation = given(store.dialect, "fleet", rows)
    beside = usual.by_sql(relation, relation.c.value, relation.c.kind)
    with store.reading() as connection:
        each = connection.execute(select(beside.c.gpu_id, *(beside.c[name] for name in usual.COLUMNS)))
        told = {row[0]: tuple(row[1:]) for row in each}
    assert told == {
        gpu: tuple(int(found[name].data[gpu]) for name in usual.COLUMNS) for gpu in np.flatnonzero(own.known).tolist()
    }


def _values(column: tuple[int | None, ...]) -> Values:
    known = np.array([value is not None for value in column])
    return Values(np.array([value or 0 for value in column], np.int64), known)
