"""Tests of pushing need grafana-client; each has a stand-in of its own, which must not find anything undocumented."""

from collections.abc import Iterator

import pytest

from tests.dashboards.grafana_stand_in import StandIn, serving


@pytest.fixture
def grafana() -> Iterator[StandIn]:
    """An empty Grafana."""
    with serving() as stand_in:
        yield stand_in
        assert stand_in.api.violations == []
