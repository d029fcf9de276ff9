"""What all tests share."""

import time

from hypothesis import given
from hypothesis import strategies as st


@given(st.none())
def test_a_slow_machine_fails_no_property(_nothing: None) -> None:
    """By default hypothesis takes an example that takes 200 ms for a failure."""
    time.sleep(0.25)
