"""The file of receivers is checked when it is read, and its secrets stay where they are."""

from pathlib import Path

import pytest
from gpufleet_server.alerts.delivery import settings
from gpufleet_server.alerts.delivery.errors import ReceiversError
from gpufleet_server.alerts.delivery.settings import Filter, parse

FILE = """
[alertmanager.main]
urls = ["http://am-1:9093", "http://am-2:9093/prefix"]
resend = "1m"
username = "gpufleet"
password_file = "{folder}/password"
labels = {{ cluster = "a" }}

[apprise.on-call]
urls_file = "{folder}/urls"
severity = "critical"
resolved = false

[webhook.tickets]
url = "https://tickets.example.org/hook"
secret_env = "GPUFLEET_TEST_SECRET"
match = {{ site = ["ams1", "ams2"], rule = "xid" }}
"""


def test_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds in one file, with secrets in files and in the environment; one that is replaced is read anew."""
    (tmp_path / "password").write_text("one\n")
    (tmp_path / "urls").write_text("# chat\njson://localhost/a\n\njson://localhost/b\n")
    monkeypatch.setenv("GPUFLEET_TEST_SECRET", "new\nold")
    (tmp_path / "receivers.toml").write_text(FILE.format(folder=tmp_path))
    found = settings.load(tmp_path / "receivers.toml")
    main = found.alertmanager["main"]
    assert (main.resend_s, main.timeout_s, main.batch, main.password()) == (60, 10, 500, "one")
    (tmp_path / "password").write_text("two")
    assert main.password() == "two"
    assert found.apprise["on-call"].urls() == ["json://localhost/a", "json://localhost/b"]
    assert found.webhook["tickets"].secrets() == ["new", "old"]
    assert list(found.secrets_missing()) == []


def test_missing_secrets_are_told(tmp_path: Path) -> None:
    """Every secret that can't be read, with the receiver it is for."""
    found = list(parse(FILE.format(folder=tmp_path)).secrets_missing())
    assert [each.split(":")[0] for each in found] == ["main", "tickets", "on-call"]
    assert "can't read password_file" in found[0]
    assert found[1] == "tickets: secret_env: the environment has no GPUFLEET_TEST_SECRET"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[alertmanager.a]", "alertmanager[...]: Object missing required field `urls`"),
        ('[alertmanager.a]\nurls = ["am:9093"]', "urls: "),
        ('[alertmanager.a]\nurls = ["http://u:secret@am"]', "holds a user"),
        ('[alertmanager.a]\nurls = ["http://am", "http://am"]', "twice"),
        ('[alertmanager.a]\nurls = ["http://am"]\nresend = "0s"', "resend: '0s' is not 1s to 600s"),
        ('[alertmanager.a]\nurls = ["http://am"]\nresend = "soon"', "is no length of time"),
        ('[alertmanager.a]\nurls = ["http://am"]\nbatch = 0', "batch: Expected `int` >= 1"),
        ('[alertmanager.a]\nurls = ["http://am"]\nlabels = { "a-b" = "c" }', "'a-b' is no name of a label"),
        ('[alertmanager.a]\nurls = ["http://am"]\nusername = "u"', "username and password_file"),
        ('[alertmanager.a]\nurls = ["http://am"]\nclient_key = "k"', "client_key needs client_cert"),
        ('[alertmanager.a]\nurls = ["http://am"]\ntoken_env = "A"\ntoken_file = "b"', "at most one of"),
        ('[webhook.a]\nurl = "http://h"', "give one of secret_file and secret_env"),
        ('[webhook.a]\nurl = "http://h"\nsecret_env = "A"\nsevrity = "info"', "unknown field `sevrity`"),
        ('[webhook.a]\nurl = "http://h"\nsecret_env = "A"\nseverity = "grave"', "severity: Invalid enum value"),
        ('[apprise.a]\nurls_env = "A"\n[webhook.a]\nurl = "http://h"\nsecret_env = "A"', "names two receivers"),
        ('[apprise."a b"]\nurls_env = "A"', "is no name"),
        ("[pager.a]", "unknown field `pager`"),
        ("= 1", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    """Each mistake is an error that names the field, and shows no secret."""
    with pytest.raises(ReceiversError) as error:
        parse(text)
    assert said in str(error.value)
    assert "secret@" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, or no text, is an error that names it."""
    with pytest.raises(ReceiversError, match=r"can't read .*none.toml: No such file"):
        settings.load(tmp_path / "none.toml")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(ReceiversError, match="bytes"):
        settings.load(tmp_path / "bytes")


def test_filters() -> None:
    """From a severity on, with one of the values of each label; a severity of a later version is told to all."""
    grave = Filter(severity="critical", match={"site": ["ams1", "ams2"], "rack": "r1"})
    there = {"site": "ams2", "rack": "r1"}
    assert grave.takes("critical", there)
    assert grave.takes("worse", there)
    assert not grave.takes("warning", there)
    assert not grave.takes("critical", there | {"rack": "r2"})
    assert not grave.takes("critical", {"site": "ams2"})
    assert Filter().takes("info", {})


def test_shown_urls_hold_no_secrets() -> None:
    """User, password and query are left out."""
    assert settings.shown("https://u:p@example.org:1/x?token=y#z") == "https://example.org:1/x"
