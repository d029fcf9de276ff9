"""`gpufleet-agent config check`: what holds, where it comes from, and all that is wrong at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.cli import main
from gpufleet_agent.settings import SETTINGS


def checked(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """What `config check --json` shows."""
    assert main(["config", "check", "--json", *arguments]) == code
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_every_setting_is_shown_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, variable, flag or default, as the file could say it; secrets only that they are there."""
    file = tmp_path / "agent.toml"
    file.write_text('server = "https://fleet.example"\nspool_age = 172800\nproxy = "http://me:pass@proxy:3128"\n')
    monkeypatch.setenv("GPUFLEET_AGENT_TOKEN", "s3cret")
    shown = checked(capsys, "--config", str(file), "--label", "team=ml", "--metrics-listen", "[::1]:9835")
    rows = {row["setting"]: (row["value"], row["from"]) for row in shown["settings"]}
    assert list(rows) == [setting.key for setting in SETTINGS]
    assert rows["spool_age"] == ("2d", str(file))
    assert rows["token"] == ("(not shown)", "environment: GPUFLEET_AGENT_TOKEN")
    assert rows["proxy"] == ("http://***@proxy:3128", str(file))
    assert rows["labels"] == ({"team": "ml"}, "--label")
    assert rows["metrics_listen"] == ("[::1]:9835", "--metrics-listen")
    assert (rows["interval"], rows["spool_size"], rows["site"]) == (
        ("10s", "default"),
        ("256MiB", "default"),
        (None, "default"),
    )
    assert (shown["valid"], shown["problems"], shown["file_found"]) == (True, [], True)
    assert shown["notes"] == [f"{file} holds proxy and can be read by every user: chmod o-r"]


def test_what_is_shown_can_be_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each default, put into a file, is the same again."""
    listen = ("--metrics-listen", "127.0.0.1:1")
    first = checked(capsys, *listen)
    lines = [f"{row['setting']} = {json.dumps(row['value'])}" for row in first["settings"] if row["value"]]
    file = tmp_path / "agent.toml"
    file.write_text("\n".join(lines))
    again = checked(capsys, "--config", str(file))
    assert [row["value"] for row in again["settings"]] == [row["value"] for row in first["settings"]]


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of every source, each on a line of its own; exit code 2."""
    file = tmp_path / "agent.toml"
    file.write_text('intervall = "10s"\nspool_size = "12"\nclient_key = "/none"\n')
    arguments = ["config", "check", "--config", str(file), "--server", "fleet", "--proxy", "ftp://me:pass@x"]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"gpufleet-agent: {file}: 'intervall' is not a setting; did you mean interval?",
        f"gpufleet-agent: {file}: spool_size = '12': expected at least 1MiB",
        "gpufleet-agent: --server = 'fleet': expected a URL such as https://gpufleet.example:8478",
        "gpufleet-agent: --proxy = (not shown): expected a URL such as http://proxy.example:3128, or none",
        "gpufleet-agent: client_key = /none: there is no client_cert that it belongs to",
        "gpufleet-agent: client_key = /none: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "there is nothing to do"),
        (["--server", "http://x", "--token-file", "/none/token"], "token_file: /none/token: No such file"),
        (["--config", "/none/agent.toml", "--server", "http://x"], "/none/agent.toml: there is no such file"),
    ],
)
def test_what_run_would_refuse_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to do, a token that cannot be read, a file that is not there."""
    assert told in checked(capsys, *arguments, code=2)["problems"][0]


def test_it_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a setting: name, value, origin."""
    assert main(["config", "check", "--server", "https://fleet.example", "--interval", "60"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["server", "https://fleet.example", "--server"], ["token", "-", "default"]]
    assert ["interval", "60s", "--interval"] in lines
