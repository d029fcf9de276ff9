"""The file of overrides: what it changes, and what is wrong with it."""

from pathlib import Path

import pytest
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.overrides import OverridesError, read
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.domain.clock import SECOND

_GOOD = """
[breaker]
share = 30
least = 5

[rules.hot_against_limits]
severity = "critical"
wait = "10m"
thresholds = { margin = 5 }

[[rules.hot_against_limits.where]]
site = "fra1"
thresholds = { margin = 8 }

[[rules.hot_against_limits.where]]
site = "fra1"
model = "H200"
thresholds = { margin = 9.5 }
enabled = false

[rules.gpu_lost]
share = 100
"""


def _read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return read(path, every_rule())


def test_what_is_set_is_in_force(tmp_path: Path) -> None:
    """For all, for a site, for a model there; the last that holds counts. The rest is as the rules say."""
    path = tmp_path / "rules.toml"
    path.write_text(_GOOD)
    found = read(path, every_rule())
    hot = found.rules["hot_against_limits"]
    places = ((None, None), ("fra1", "A"), ("fra1", "H200"))
    assert [hot.limits.of("margin", site, model) for site, model in places] == [5, 8, 9.5]
    assert hot.limits.largest("margin") == 9.5
    assert (hot.manner.severity, hot.manner.wait, hot.manner.keep) == (Severity.CRITICAL, 600 * SECOND, 300 * SECOND)
    assert (hot.of("fra1", "H200").enabled, hot.of("fra1", "A").enabled) == (False, True)
    assert (found.least, hot.share, found.rules["gpu_lost"].share) == (5, 0.3, 1.0)
    assert found.rules["circuit_breaker"].share is None
    assert read(None, every_rule()).rules["hot_against_limits"].limits["margin"] == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[rules.hot_against]", "there is no rules.hot_against; did you mean hot_against_limits?"),
        ("[rule.x]", "there is no rule; did you mean rules?"),
        (
            "[rules.gpu_lost]\nwait = 'soon'",
            'rules.gpu_lost.wait is a length of time such as 90, "30s" or "5m", not \'soon\'',
        ),
        ("[rules.gpu_lost]\nseverity = 'bad'", "rules.gpu_lost.severity is one of critical, warning, info, not 'bad'"),
        ("[rules.gpu_lost]\nenabled = 1", "rules.gpu_lost.enabled is true or false, not 1"),
        ("[rules.gpu_lost.thresholds]\nmargin = 1", "there is no rules.gpu_lost.thresholds.margin"),
        ("[rules.hot_against_limits.thresholds]\nmargin = '5'", "thresholds.margin is a number, not '5'"),
        ("[rules.hot_against_limits.thresholds]\nmargin = nan", "thresholds.margin is a number, not nan"),
        ("[[rules.gpu_lost.where]]\nenabled = false", "rules.gpu_lost.where[0] needs a site or a model"),
        ("[rules.gpu_lost]\nwhere = 3", "rules.gpu_lost.where is a list of tables"),
        ("[breaker]\nshare = 130", "breaker.share is a share in %, 0 to 100, not 130"),
        ("[breaker]\nleast = 0", "breaker.least is a number of 1 or more, not 0"),
        ("rules = 3", "rules is a table, not 3"),
        ("[rules", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """The field and its value, with the file."""
    with pytest.raises(OverridesError) as caught:
        _read(tmp_path, text)
    assert complaint in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It says which."""
    with pytest.raises(OverridesError, match=r"can't read .*nothing\.toml"):
        read(tmp_path / "nothing.toml", every_rule())
