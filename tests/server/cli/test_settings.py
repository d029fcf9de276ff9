"""Where things lie, and which server is read."""

import stat
from pathlib import Path

import pytest
from gpufleet_server.cli import settings
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.settings import Access, access, address, keep_access


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def test_what_up_left_is_read(home: Path) -> None:
    """URL and token come back, from a file that only its owner can read."""
    keep_access(Access("http://127.0.0.1:8478", "gpf_reader_x"))
    assert access(None, None) == Access("http://127.0.0.1:8478", "gpf_reader_x")
    file = home / "state/gpufleet/client.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["client.json"]


def test_flags_win() -> None:
    """A given server and token are used, whatever was left."""
    keep_access(Access("http://127.0.0.1:8478", "gpf_reader_x"))
    assert access("https://fleet.example/", "t") == Access("https://fleet.example", "t")
    assert access(None, "t") == Access("http://127.0.0.1:8478", "t")


def test_a_token_is_shown_to_its_own_server_only() -> None:
    """The token that was left is not sent to another server that was named."""
    keep_access(Access("http://127.0.0.1:8478", "gpf_reader_x"))
    assert access("http://127.0.0.1:8478/", None).token == "gpf_reader_x"
    with pytest.raises(CliError, match="needs a reader token"):
        access("http://other.example", None)


def test_without_a_server_the_message_says_what_to_do() -> None:
    """Nothing was left and nothing is given."""
    with pytest.raises(CliError, match="gpufleet up"):
        access(None, None)


@pytest.mark.parametrize("text", ["{", "[]", '{"server": 3}', ""])
def test_a_broken_file_is_no_traceback(home: Path, text: str) -> None:
    """Whatever the file holds, the error is one of ours."""
    settings.write_private(home / "state/gpufleet/client.json", text)
    with pytest.raises(CliError):
        access(None, None)


def test_what_is_no_url() -> None:
    """A server without a scheme is wrong usage."""
    with pytest.raises(CliError, match="no URL") as raised:
        access("localhost:8478", "t")
    assert raised.value.status == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8478", ("127.0.0.1", 8478)),
        ("[::1]:80", ("::1", 80)),
        (":0", ("0.0.0.0", 0)),
        ("host.example:65535", ("host.example", 65535)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """Host and port, IPv6 in brackets, no host for every interface."""
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "8478", "host", "host:", "host:x", "host:65536", "::1:80", "host:-1"])
def test_what_is_no_address(text: str) -> None:
    """Wrong usage, and the value is named."""
    with pytest.raises(CliError, match="--listen") as raised:
        address(text)
    assert raised.value.status == 2


def test_a_relative_xdg_folder_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG specification says."""
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert settings.data_folder() == Path("/home/someone/.local/share/gpufleet")
