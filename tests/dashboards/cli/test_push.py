"""`gpufleet dashboards push` and `diff --url` as people start them, with all boards and all alert rules."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_server.cli import app
from typer.testing import CliRunner, Result

from tests.dashboards.grafana_stand_in import StandIn, serving

PASSWORD = "secret-of-the-reader"
SOURCE = ("--address", "db:5432", "--database", "fleet")


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An empty Grafana, whose token is in the environment."""
    with serving() as stand_in:
        monkeypatch.setenv("GRAFANA_TOKEN", stand_in.token)
        monkeypatch.setenv("GPUFLEET_READER_PASSWORD", PASSWORD)
        yield stand_in
        assert stand_in.api.violations == []


def run(grafana: StandIn, command: str, *arguments: str, status: int = 0) -> Result:
    """Run a command on the stand-in, which ends with this status."""
    result = CliRunner().invoke(app, ["dashboards", command, "--url", grafana.url, *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_pushed_twice(grafana: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """All boards and all rules; the second time nothing is written, and nowhere is a secret."""
    caplog.set_level(logging.DEBUG)
    first = run(grafana, "push", *SOURCE, "--alerts")
    assert "gpufleet db grant-reader --alert-rules gpufleet_reader" in first.stderr
    assert set(grafana.state.boards) == {board.uid for board in every_board().values()}
    assert len(grafana.state.rules) > 20
    before = grafana.state.writes
    second = run(grafana, "push", *SOURCE, "--alerts")
    assert "Nothing to write." in second.output and grafana.state.writes == before
    for told in (first.output, second.output, caplog.text):
        assert PASSWORD not in told and grafana.token not in told


def test_a_dry_run_writes_nothing(grafana: StandIn) -> None:
    """It says what it would."""
    assert "would be created" in run(grafana, "push", *SOURCE, "--dry-run").output
    assert grafana.state.writes == 0


def test_what_postgresql_s_certificate_is_signed_with(grafana: StandIn) -> None:
    """A path of Grafana's machine; pushed again it is the same, another is a change."""
    verified = (*SOURCE, "--sslmode", "verify-full", "--sslrootcert")
    run(grafana, "push", *verified, "/etc/db-ca.pem")
    more = grafana.state.datasources["gpufleet-pg"]["jsonData"]
    assert (more["sslmode"], more["sslRootCertFile"]) == ("verify-full", "/etc/db-ca.pem")
    assert "Nothing to write." in run(grafana, "push", *verified, "/etc/db-ca.pem").output
    assert "jsonData.sslRootCertFile" in run(grafana, "push", *verified, "/etc/new-ca.pem").output


def test_as_json(grafana: StandIn) -> None:
    """For programs."""
    told = json.loads(run(grafana, "push", *SOURCE, "--json").stdout)
    assert told["grafana"] == {"url": grafana.url, "version": "13.3.0"} and told["error"] is None
    assert told["written"] == len(told["things"]) == len(every_board()) + 2


def test_what_is_kept_shows_in_the_exit_status(grafana: StandIn) -> None:
    """4 where this release has it otherwise, and `diff` shows how."""
    run(grafana, "push", *SOURCE)
    assert run(grafana, "diff").stdout == ""
    fleet = grafana.state.boards["gpufleet-fleet"]
    # As if an older release had been pushed, and somebody had changed it since.
    fleet.entries[0]["message"] = "gpufleet 0.0.1 pushed 0123456789abcdef"
    grafana.people.edit_board("gpufleet-fleet", title="Ann's fleet")
    told = run(grafana, "push", *SOURCE, status=4).output
    assert "changed in Grafana by ann" in told and f"gpufleet dashboards diff --url {grafana.url}" in told
    assert "Ann's fleet" in run(grafana, "diff", status=1).stdout
    run(grafana, "push", *SOURCE, "--overwrite")
    assert fleet.newest["title"] == every_board()["fleet"].title


def test_a_cut_is_told(grafana: StandIn) -> None:
    """On stderr, with status 1: what is there and what is not."""
    run(grafana, "push", *SOURCE, "--dry-run")
    # The folder and the data source are made, the first board is not.
    grafana.faults.cut_at = 2 * grafana.faults.asked + 3
    grafana.faults.before = grafana.faults.for_good = True
    told = run(grafana, "push", *SOURCE, status=1)
    assert "was cut" in told.stderr and "A further push completes it" in told.stderr
    assert "written: folder gpufleet, data source gpufleet-pg; not written: board " in told.stderr
    assert told.stderr.count("not known: board ") == 1 and not grafana.state.boards


def test_without_grafana_client(grafana: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.delitem(sys.modules, "gpufleet_dashboards.push.grafana", raising=False)
    monkeypatch.setitem(sys.modules, "grafana_client.api", None)
    told = run(grafana, "push", status=1).stderr
    assert "pip install 'gpufleet-dashboards[push]'" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--address", "db:5432", "--no-datasource"), "either or"),
        (("--set-password",), "--set-password needs --address"),
        (("--address", "db:5432", "--sslmode", "maybe"), "--sslmode maybe is none of"),
        (("--address", "db:5432", "--sslmode", "verify-full"), "needs --sslrootcert"),
    ],
)
def test_options_that_make_no_sense(grafana: StandIn, arguments: tuple[str, ...], told: str) -> None:
    """Wrong usage, before anything is asked."""
    assert told in run(grafana, "push", *arguments, status=2).stderr
    assert grafana.faults.asked == 0
