"""Releases of agents compare as numbers do, in Python and on both engines."""

import pytest
from gpufleet_server.alerts import versions
from gpufleet_server.store.engine import Store
from sqlalchemy import String, literal, select

_ORDERED = ["0.9", "0.9.7", "0.10.0rc1", "0.11.2", "1.0", "1.2.3", "12.0.1+local"]
_NONE = ["", "built by hand", "v1.2", "7", "1", '0."9', "x.1", "1.x", "0.9'"]


@pytest.mark.parametrize("version", [*_ORDERED, *_NONE[:5]])
def test_engines_agree(store: Store, version: str) -> None:
    """What the database makes of a version is what Python makes of it; of one that is none it makes NULL."""
    with store.reading() as connection:
        found = connection.execute(select(versions.releases(literal(version, String()), store.dialect))).scalar()
    assert (found or 0) == versions.releases_of(version)


@pytest.mark.parametrize("version", _NONE[5:])
def test_what_is_no_version_is_no_error(store: Store, version: str) -> None:
    """Agents tell what they like."""
    with store.reading() as connection:
        connection.execute(select(versions.releases(literal(version, String()), store.dialect))).scalar()


def test_they_are_in_order() -> None:
    """0.9 is before 0.10; what is behind the second number does not count."""
    numbers = [versions.releases_of(version) for version in _ORDERED]
    assert numbers == sorted(numbers)
    assert numbers[0] == numbers[1]
