"""URLs and secrets: what is refused, and that no secret is shown."""

import pytest
from gpufleet_dashboards.push.access import access
from gpufleet_dashboards.push.failure import PushError

TOKEN = {"GRAFANA_TOKEN": "glsa_secret"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://grafana", "http://grafana"),
        ("https://grafana.example:3000/", "https://grafana.example:3000"),
        ("https://host.example/grafana", "https://host.example/grafana"),
        ("http://[::1]:3000/a/b/", "http://[::1]:3000/a/b"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    """With and without a port and a path."""
    assert access(url, TOKEN).url == shown


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("grafana:3000", "is no URL of a Grafana"),
        ("ftp://grafana", "is no URL of a Grafana"),
        ("http://grafana:port", "is no URL"),
        ("http://admin:secret@grafana", "a URL with a password shows in lists of processes"),
    ],
)
def test_what_is_no_url(url: str, told: str) -> None:
    """It is said which is wanted; a password in it is not repeated."""
    with pytest.raises(PushError, match=told) as error:
        access(url, TOKEN)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "set GRAFANA_TOKEN"),
        ({"GRAFANA_USER": "ann"}, "set GRAFANA_TOKEN"),
        ({"GRAFANA_TOKEN": "Bearer secret"}, "the token alone"),
        ({"GRAFANA_TOKEN": "secret\r\nX-Evil: 1"}, "GRAFANA_TOKEN has characters"),
        ({"GRAFANA_TOKEN": "secrét"}, "GRAFANA_TOKEN has characters"),
    ],
)
def test_secrets_that_will_not_do(environment: dict[str, str], told: str) -> None:
    """They are refused before they are sent, and not shown."""
    with pytest.raises(PushError, match=told) as error:
        access("http://grafana", environment)
    assert "secret" not in str(error.value)


def test_an_access_does_not_show_its_secret() -> None:
    """Not even in a traceback."""
    assert "glsa_secret" not in repr(access("http://grafana", TOKEN))
