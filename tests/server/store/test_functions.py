"""SQL functions on packed integers: the same on both engines, and the same as numpy's."""

from typing import Any

import numpy as np
import pytest
from gpufleet_server.domain import planes
from gpufleet_server.store.engine import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, func, select
from sqlalchemy.types import LargeBinary

_ENDS = {2: (-(1 << 15), (1 << 15) - 1), 4: (-(1 << 31), (1 << 31) - 1), 8: (-(1 << 63), (1 << 63) - 1)}
_SAME_STORE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)


def _ask(store: Store, name: str, *arguments: Any) -> Any:
    packed, *rest = arguments
    called = getattr(func, name)(bindparam("packed", packed, LargeBinary), *rest)
    with store.reading() as connection:
        return connection.execute(select(called)).scalar_one()


@pytest.mark.parametrize("width", _ENDS)
def test_packed_integers(store: Store, width: int) -> None:
    """Each comes back with its sign; beyond the end there is none."""
    numbers = [0, 1, -1, 255, 256, *_ENDS[width]]
    packed = np.array(numbers, f"<i{width}").tobytes()
    found = [_ask(store, f"gpufleet_int{width}", packed, place) for place in range(len(numbers) + 1)]
    assert found == [*numbers, None]


def test_absent_values_are_null(store: Store) -> None:
    """What is not above the bound, and NULL, is NULL."""
    with store.reading() as connection:
        row = connection.execute(select(*(func.gpufleet_above(value, -5) for value in (-6, -5, -4, None)))).one()
    assert tuple(row) == (None, None, -4, None)


_WIDE = st.integers(*_ENDS[8]) | st.integers(-300, 300)
_NARROW = st.integers(*_ENDS[4]) | st.integers(-300, 300)


@_SAME_STORE
@given(data=st.data())
def test_planes(postgresql: Store, data: st.DataObject) -> None:
    """PostgreSQL reads a cell of byte planes as numpy does."""
    wide = data.draw(st.booleans())
    n, m = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    values = data.draw(st.lists(_WIDE if wide else _NARROW, min_size=n * m, max_size=n * m))
    matrix = np.array(values, np.int64).reshape(n, m)
    i, g = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, m - 1))
    width, packed = 8 if wide else 4, planes.encode(matrix, wide=wide)
    base = _ask(postgresql, f"gpufleet_int{width}", packed, g)
    found = _ask(postgresql, f"gpufleet_cell{width}", packed, base, width * m + g * n + i, n * m)
    assert found == matrix[i, g]
