"""Settings: where they come from, which wins, and what is said about those that cannot be."""

from pathlib import Path

import pytest
from gpufleet_agent.config import Config, ConfigError, load
from gpufleet_agent.settings import SETTINGS


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    """Each source overrides the one before it, key by key."""
    file = tmp_path / "agent.toml"
    file.write_text('interval = "30s"\nsite = "fra1"\nrack = "r1"\nlabels = { team = "ml" }\n')
    config = load({"rack": "r3"}, {"GPUFLEET_AGENT_SITE": "ams1", "GPUFLEET_AGENT_RACK": "r2"}, file)
    assert (config.interval, config.site, config.rack, config.labels) == (30.0, "ams1", "r3", {"team": "ml"})
    assert config.spool_size == 256 << 20


def test_every_setting_is_a_field() -> None:
    """The list of settings and the fields of Config are the same."""
    assert [setting.key for setting in SETTINGS] == list(Config.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1.0), ("10s", 10.0), ("1.5 s", 1.5), ("5m", 300.0), ("5000ms", 5.0), ("2min", 120.0)]
)
def test_intervals_have_units(text: str, seconds: float) -> None:
    """A plain number is seconds."""
    assert load({"interval": text}, {}).interval == seconds


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("interval", "10ms", "1s to 300s"),
        ("interval", "1h", "1s to 300s"),
        ("interval", "fast", "a number with a unit"),
        ("interval", "nan", "a number with a unit"),
        ("server", "gpufleet.example:8765", "expected a URL"),
        ("server", "http://host:port", "ort"),
        ("server", "https://user:pass@host", "without user"),
        ("metrics_listen", "9835", "address:port"),
        ("metrics_listen", "0.0.0.0:9835", "--metrics-allow-remote"),
        ("metrics_listen", "127.0.0.1:99999", "address:port"),
        ("dcgm_names", "maybe", "true or false"),
        ("dcgm_names", True, "there is no --metrics-listen"),
        ("labels", ["team"], "key=value"),
        ("spool_size", "12", "at least 1MiB"),
        ("log_level", "loud", "debug, info"),
        ("log_format", "xml", "auto, text, json or journald"),
        ("proxy", "proxy:3128", "expected a URL such as http://proxy"),
        ("proxy", "https://proxy", "expected a URL such as http://proxy"),
        ("client_cert", "/proc/none/cert.pem", "No such file"),
        ("site", "", "not empty"),
        ("site", "a\x1b[2J", "no control characters"),
        ("labels", {"team": "a\0b"}, "without control characters"),
        ("labels", {"te\nam": "a"}, "without control characters"),
        ("labels", {"team": {"a": 1}}, "one text each"),
        ("site", "a$__timeFrom()b", "Grafana would take"),
        ("site", "${__from}", "Grafana would take"),
        ("site", "cost$centre(1)", "Grafana would take"),
        ("server", "http://a b", "expected a URL"),
        ("state_dir", "~no-such-user/x", "home folder"),
        ("ca_file", "/proc/none/ca.pem", "No such file"),
        ("ca_file", "/", "directory"),
    ],
)
def test_bad_values_are_named(key: str, value: object, told: str) -> None:
    """The error names the setting, the value and what was expected."""
    with pytest.raises(ConfigError, match=told) as caught:
        load({key: value}, {})
    assert key.replace("_", "-").removesuffix("s") in str(caught.value).replace("_", "-")


def test_a_bad_file_is_named_with_its_key(tmp_path: Path) -> None:
    """File, key and a near name; wrong syntax with its line; a file that is asked for must be there."""
    file = tmp_path / "agent.toml"
    file.write_text("intervall = 10\n")
    with pytest.raises(ConfigError, match=r"agent\.toml: 'intervall' is not a setting; did you mean interval\?"):
        load({}, {}, file)
    file.write_text("interval = \n")
    with pytest.raises(ConfigError, match="line 1"):
        load({}, {}, file)
    with pytest.raises(ConfigError, match="no such file"):
        load({}, {}, tmp_path / "other.toml")


def test_an_unknown_variable_is_named() -> None:
    """A misspelt variable is told, not ignored."""
    with pytest.raises(ConfigError, match="did you mean GPUFLEET_AGENT_SERVER"):
        load({}, {"GPUFLEET_AGENT_SEVER": "http://x"})


def test_the_token_is_never_shown(tmp_path: Path) -> None:
    """Neither in an error nor in the settings' own text; its file may hold it instead."""
    with pytest.raises(ConfigError) as caught:
        load({"token": "s3cret" * 100}, {})
    assert "s3cret" not in str(caught.value)
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    config = load({"token": "s3cret", "token_file": str(file)}, {})
    assert "s3cret'" not in repr(config)
    assert config.join_token() == "s3cret"
    with pytest.raises(ConfigError, match="token_file"):
        load({"token_file": str(tmp_path / "none")}, {}).join_token()
    file.write_text("\n")
    assert load({"token_file": str(file)}, {}).join_token() is None


def test_state_stays_in_the_users_folder_unless_root() -> None:
    """What systemd gives, else `/var/lib` for root, XDG for others."""
    assert load({}, {"HOME": "/home/u"}, root_user=False).state_dir == Path("/home/u/.local/state/gpufleet-agent")
    assert load({}, {"STATE_DIRECTORY": "/var/lib/a:/b"}, root_user=False).state_dir == Path("/var/lib/a")
    assert load({}, {"XDG_STATE_HOME": "/s"}, root_user=False).state_dir == Path("/s/gpufleet-agent")
    assert load({}, {}, root_user=True).state_dir == Path("/var/lib/gpufleet-agent")
