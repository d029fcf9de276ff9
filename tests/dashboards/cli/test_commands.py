"""`gpufleet dashboards` as people start it."""

import json
from pathlib import Path

import pytest
import yaml
from gpufleet_dashboards.discovery import every_board
from gpufleet_server.cli import app
from typer.testing import CliRunner, Result

PROVISIONED = ("dashboards/gpufleet.yml", "datasources/gpufleet.yml")


def dashboards(*arguments: str | Path, status: int = 0) -> Result:
    """Run the command, which ends with this status."""
    result = CliRunner().invoke(app, ["dashboards", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def changed(file: Path, **values: object) -> None:
    """Change a board's file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder with all boards."""
    dashboards("build", "--out", tmp_path)
    return tmp_path


def test_build_writes_every_board_once(built: Path) -> None:
    """Again, nothing is to be written."""
    assert sorted(file.name for file in built.iterdir()) == sorted(
        f"{each.uid}.json" for each in every_board().values()
    )
    assert dashboards("build", "--out", built).stdout == ""


def test_check_finds_nothing_in_what_is_built(built: Path) -> None:
    """All boards together: their links lead to each other."""
    assert "nothing is wrong" in dashboards("check", built).stderr


def test_check_of_the_tree_finds_what_was_not_built() -> None:
    """Without a folder it is the one that is checked in."""
    assert "nothing is wrong" in dashboards("check").stderr


def test_check_names_what_is_wrong(built: Path) -> None:
    """In words, or as JSON for programs; the status says so too."""
    changed(built / "gpufleet-fleet.json", description="")
    assert "gpufleet-fleet.json: board: has no description" in dashboards("check", built, status=1).stdout
    found = json.loads(dashboards("check", built, "--json", status=1).stdout)
    assert {"file": "gpufleet-fleet.json", "where": "board", "what": "has no description"} in found


def test_diff_shows_what_people_changed(built: Path) -> None:
    """Of boards as Grafana's API gives them too."""
    assert dashboards("diff", built).stdout == ""
    file = built / "gpufleet-fleet.json"
    file.write_text(json.dumps({"meta": {}, "dashboard": json.loads(file.read_text()) | {"title": "Ours", "id": 7}}))
    assert '-  "title": "Ours",' in dashboards("diff", built, status=1).stdout


@pytest.mark.parametrize(
    ("text", "told"), [("{", "is not JSON"), ("[]", "no list of panels"), ('{"spec": {}}', "no list of panels")]
)
def test_files_that_are_no_boards(tmp_path: Path, text: str, told: str) -> None:
    """Are named, with what is wrong with them."""
    (tmp_path / "x.json").write_text(text)
    assert told in dashboards("check", tmp_path, status=1).stderr


def test_an_empty_folder(tmp_path: Path) -> None:
    """It is likely another that was meant."""
    assert "no boards are there" in dashboards("check", tmp_path, status=2).stderr


def test_provision_writes_what_grafana_reads(tmp_path: Path) -> None:
    """Data source, boards, and where these are on Grafana's machine."""
    dashboards("provision", "--out", tmp_path, "--at", "/etc/grafana/provisioning", "--sslmode", "disable")
    provider, source = (yaml.safe_load((tmp_path / name).read_text()) for name in PROVISIONED)
    assert provider["providers"][0]["options"]["path"] == "/etc/grafana/provisioning/gpufleet-boards"
    assert source["datasources"][0]["jsonData"]["sslmode"] == "disable"
    assert len(list((tmp_path / "gpufleet-boards").iterdir())) == len(every_board())


def test_provision_with_alert_rules(tmp_path: Path) -> None:
    """As `gpufleet alerts export grafana` writes them, of the same data source and folder."""
    told = dashboards("provision", "--out", tmp_path, "--alerts", "--role", "ann").stderr
    assert "gpufleet db grant-reader --alert-rules ann" in told
    (group,) = yaml.safe_load((tmp_path / "alerting" / "gpufleet-alerts.yml").read_text())["groups"]
    assert group["folder"] == "gpufleet"
    assert {rule["data"][0]["datasourceUid"] for rule in group["rules"]} == {"gpufleet-pg"}


def test_provision_with_alert_rules_as_they_are_set(tmp_path: Path) -> None:
    """Of a data source of their own, and as a file sets them."""
    rules = tmp_path / "rules.toml"
    rules.write_text("[rules.gpu_lost]\nenabled = false\n")
    dashboards("provision", "--out", tmp_path, "--alerts", "--alert-rules", rules, "--alert-datasource", "theirs")
    (group,) = yaml.safe_load((tmp_path / "alerting" / "gpufleet-alerts.yml").read_text())["groups"]
    assert "gpu_lost" not in {rule["title"] for rule in group["rules"]}
    assert {rule["data"][0]["datasourceUid"] for rule in group["rules"]} == {"theirs"}


def test_provision_with_xids_as_the_servers_know_them(tmp_path: Path) -> None:
    """What an XID comes to is in the rules' queries."""
    xids = tmp_path / "xids.toml"
    xids.write_text('[xid.13]\nseverity = "critical"\n')

    def queries(folder: str, *options: str | Path) -> dict[str, str]:
        dashboards("provision", "--out", tmp_path / folder, "--alerts", *options)
        (group,) = yaml.safe_load((tmp_path / folder / "alerting" / "gpufleet-alerts.yml").read_text())["groups"]
        return {rule["title"]: rule["data"][0]["model"]["rawSql"] for rule in group["rules"]}

    usual, ours = queries("usual"), queries("ours", "--xids", xids)
    assert "xid_restart_app" in {name for name in usual if usual[name] != ours[name]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--sslmode", "maybe"], "--sslmode maybe is none of"),
        (["--sslmode", "verify-full"], "--sslmode verify-full needs --sslrootcert"),
        (["--sslmode", "verify-ca", "--sslrootcert", "ca.pem"], "--sslrootcert ca.pem is no absolute path"),
        (["--sslmode", "disable", "--sslrootcert", "/ca.pem"], "of no use"),
        (["--at", "x"], "no absolute path"),
        (["--alerts", "--xids", "no-such-file"], "no-such-file"),
    ],
)
def test_provision_with_wrong_options(tmp_path: Path, options: list[str], told: str) -> None:
    """Nothing is written then."""
    assert told in dashboards("provision", "--out", tmp_path, *options, status=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_t_be_written(tmp_path: Path) -> None:
    """One line says which file, and why."""
    (tmp_path / "file").write_text("")
    assert "can't write" in dashboards("build", "--out", tmp_path / "file", status=1).stderr
