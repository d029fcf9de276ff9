"""What `gpufleet serve` takes."""

import pytest
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.keep import kept_for


@pytest.mark.parametrize(("given", "seconds"), [("0", 0), ("30d", 30 * 86_400), ("1h", 3600), ("90000", 90_000)])
def test_how_long_samples_are_kept(given: str, seconds: int) -> None:
    """A length of time, or 0 for ever."""
    assert kept_for(given, "--keep-samples") == seconds * 1_000_000


@pytest.mark.parametrize("given", ["", "-1d", "1m", "for ever", "nan"])
def test_too_short_is_a_mistake(given: str) -> None:
    """A typed `30m` for `30d` must not empty a store."""
    with pytest.raises(CliError, match="--keep-samples") as caught:
        kept_for(given, "--keep-samples")
    assert caught.value.status == 2
