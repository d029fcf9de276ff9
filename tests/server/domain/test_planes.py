"""Byte planes of matrices."""

import numpy as np
import pytest
from gpufleet_server.domain import planes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

_SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def _matrices(bits: int) -> st.SearchStrategy[planes.Matrix]:
    values = st.one_of(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1), st.integers(-3, 3))
    return arrays.arrays(np.int64, _SHAPES, elements=values)


@given(values=_matrices(32))
def test_narrow_round_trip(values: planes.Matrix) -> None:
    """Any matrix of int32 comes back as it was."""
    assert np.array_equal(planes.decode(planes.encode(values, wide=False), *values.shape, wide=False), values)


@given(values=_matrices(64))
def test_wide_round_trip(values: planes.Matrix) -> None:
    """Any matrix of int64 comes back, however far apart its values are."""
    assert np.array_equal(planes.decode(planes.encode(values, wide=True), *values.shape, wide=True), values)


def test_constants_cost_nothing() -> None:
    """Constants need no planes, small differences one."""
    assert len(planes.encode(np.full((360, 8), 7), wide=False)) == 8 * 4
    assert len(planes.encode(np.arange(16).reshape(8, 2), wide=False)) == 2 * 4 + 16


def test_wrong_length() -> None:
    """Bytes that are no whole number of planes are refused."""
    with pytest.raises(ValueError, match="no planes"):
        planes.decode(bytes(9), 3, 2, wide=False)
