"""One server for all scenarios: each has a node and a site of its own."""

from collections.abc import Iterator

import pytest

from tests.e2e.scenarios.stage import House, opened


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server whose clock tests set forward."""
    with opened(tmp_path_factory.mktemp("house")) as it:
        yield it
