"""Each way in which a Grafana won't: said with what to do, and nothing is written."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gpufleet_dashboards.push.access import access
from gpufleet_dashboards.push.apply import State, apply
from gpufleet_dashboards.push.failure import PushError
from gpufleet_dashboards.push.grafana import Grafana
from gpufleet_dashboards.push.plan import plan

from tests.dashboards.grafana_stand_in import StandIn, serving
from tests.dashboards.grafana_stand_in.roles import ADMIN, EDITOR, VIEWER, without
from tests.dashboards.push.pushing import WANTED, board, opened, push, states, with_boards, with_rules

# Key and certificate of "localhost", signed by itself.
CERTIFICATE = Path(__file__).parents[2] / "agent/runtime/localhost.pem"


def _refusal(stand_in: StandIn, token: str | None = None) -> str:
    with pytest.raises(PushError) as error, opened(stand_in, token) as client:
        plan(client, WANTED)
    assert stand_in.state.writes == 0
    return str(error.value)


def test_a_wrong_token(grafana: StandIn) -> None:
    """It is said where a token comes from, and the token is not shown."""
    told = _refusal(grafana, "glsa_wrong")
    assert "does not accept who you say you are (Invalid API key)" in told and "GRAFANA_TOKEN" in told
    assert "glsa_wrong" not in told


def test_a_user_with_a_password_may_too(grafana: StandIn) -> None:
    """Basic authentication."""
    grafana.api.users["ann", "ann's own"] = ADMIN
    secrets = {"GRAFANA_USER": "ann", "GRAFANA_PASSWORD": "ann's own"}
    with Grafana(access(grafana.url, secrets)) as client:
        assert len(plan(client, WANTED).steps) == 6


@pytest.mark.parametrize(
    ("permissions", "told"),
    [
        (VIEWER, "the token lacks datasources:read"),
        (without(ADMIN, "folders:create"), "the token lacks folders:create"),
        (
            without(ADMIN, "datasources:create", "folders:create"),
            "the token lacks folders:create; datasources:create: give its service account these permissions",
        ),
        (
            {**without(EDITOR, "alert.provisioning.provenance:write"), "datasources:read": ["*"]},
            "alert.provisioning:write or alert.rules.provisioning:write",
        ),
    ],
)
def test_rights_that_are_lacking(grafana: StandIn, permissions: dict[str, list[str]], told: str) -> None:
    """All of them are named before anything is written."""
    grafana.api.tokens["glsa_poor"] = ("sa-poor", permissions)
    assert told in _refusal(grafana, "glsa_poor")


def test_a_folder_that_one_may_not_write_into(grafana: StandIn) -> None:
    """Rights on another folder do not count."""
    push(grafana, with_boards())
    rights = {"dashboards:create": ["folders:uid:other"]}
    grafana.api.tokens["glsa_poor"] = ("sa-poor", {**ADMIN, **rights})
    with (
        pytest.raises(PushError, match="lacks dashboards:create on folders:uid:gpufleet"),
        opened(grafana, "glsa_poor") as client,
    ):
        plan(client, with_boards(board("fleet")))


@pytest.mark.parametrize("version", ["11.6.2", "9.5.0+security-01"])
def test_an_old_grafana(version: str) -> None:
    """It is said which is the oldest, and why."""
    with serving(version) as grafana:
        assert "12.0 is the oldest that will do: older ones drop how long an alert" in _refusal(grafana)


@pytest.mark.parametrize("version", ["12.0.0", "12.1.0-91295", "13.0.0+security-01"])
def test_grafanas_that_are_new_enough(version: str) -> None:
    """However they write their versions."""
    with serving(version) as grafana:
        assert push(grafana).error is None


def _page(stand_in: StandIn) -> None:
    stand_in.faults.page = "<html><title>Welcome</title></html>"


def _login(stand_in: StandIn) -> None:
    stand_in.faults.redirect = "https://sso.example/login?next="


def _moved(stand_in: StandIn) -> None:
    stand_in.faults.redirect = "https://grafana.example"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_page, "is no Grafana but a web page"),
        (_login, "a login stands before Grafana that takes no tokens"),
        (_moved, "sends on to https://grafana.example: give that as --url"),
    ],
)
def test_what_is_no_grafana(grafana: StandIn, fault: Callable[[StandIn], None], told: str) -> None:
    """Something else answers: a page, a login, a redirect, which is never followed with a token in hand."""
    fault(grafana)
    assert told in _refusal(grafana)
    assert grafana.faults.asked == 1


def test_a_path_that_is_not_grafanas(grafana: StandIn) -> None:
    """A Grafana under a path, or none at all."""
    elsewhere = access(f"{grafana.url}/grafana", {"GRAFANA_TOKEN": "x"})
    with (
        pytest.raises(PushError, match=r"it has no /api/health\. If Grafana is under a path"),
        Grafana(elsewhere) as client,
    ):
        client.health()
    grafana.api.violations.clear()


def test_nothing_listens() -> None:
    """A refused connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        pytest.raises(PushError, match="nothing listens there"),
        Grafana(access(f"http://127.0.0.1:{port}", {"GRAFANA_TOKEN": "x"})) as client,
    ):
        client.health()


def test_tls_where_there_is_none(grafana: StandIn) -> None:
    """https:// to a server that speaks plainly."""
    url = grafana.url.replace("http://", "https://")
    with pytest.raises(PushError, match="does not speak TLS"), Grafana(access(url, {"GRAFANA_TOKEN": "x"})) as client:
        client.health()


def test_certificates() -> None:
    """One that nobody vouches for is refused; with the file of its authority all goes well."""
    with serving(tls=CERTIFICATE) as grafana:
        secrets = {"GRAFANA_TOKEN": grafana.token}
        told = r"the certificate of .* is no good: .*; give its authority's with --ca-file"
        with pytest.raises(PushError, match=told), Grafana(access(grafana.url, secrets)) as client:
            client.health()
        with Grafana(access(grafana.url, secrets, CERTIFICATE)) as client:
            assert apply(plan(client, WANTED).steps).error is None


def test_a_title_that_is_taken(grafana: StandIn) -> None:
    """Before writing."""
    push(grafana, with_boards())
    grafana.state.save_board({"dashboard": board("other", title="Fleet"), "folderUid": "gpufleet"}, "bob")
    with pytest.raises(PushError, match="another board of this title, gpufleet-other, is in the folder"):
        push(grafana, with_boards(board("fleet")))


def test_two_folders_of_one_title(grafana: StandIn) -> None:
    """Which one is meant has to be said."""
    for uid in ("one", "two"):
        grafana.state.folders[uid] = {"id": 1, "uid": uid, "title": "GPU", "version": 1}
    with pytest.raises(PushError, match="several folders are called GPU: give --folder one of their uids, one, two"):
        push(grafana, replace(WANTED, folder="GPU"))


def test_no_data_source(grafana: StandIn) -> None:
    """Boards without one are refused, unless that is wanted."""
    with pytest.raises(PushError, match="it is not there: give --address"):
        push(grafana, replace(WANTED, settings=None))
    assert push(grafana, with_boards(board("fleet"))).error is None


def test_somebody_saves_in_between(grafana: StandIn) -> None:
    """412: that board and what comes after it is not written, and what somebody saved stays."""
    push(grafana)
    newer = [board("fleet", refresh="5m"), board("gpu", refresh="5m"), board("node", refresh="5m")]
    with opened(grafana) as client:
        found = plan(client, with_boards(*newer), overwrite=True)
        grafana.people.edit_board("gpufleet-gpu", "ann", title="Ann's")
        result = apply(found.steps)
    assert "somebody saved it in the meantime" in str(result.error)
    assert [states(result)[f"gpufleet-{name}"] for name in ("fleet", "gpu", "node")] == [
        State.UPDATED,
        State.NOT_WRITTEN,
        State.NOT_WRITTEN,
    ]
    assert grafana.state.boards["gpufleet-gpu"].newest["title"] == "Ann's"


def test_a_data_source_changes_in_between(grafana: StandIn) -> None:
    """409."""
    push(grafana)
    grafana.people.edit_datasource("gpufleet-pg", url="replica:5432")
    with opened(grafana) as client:
        found = plan(client, WANTED, overwrite=True)
        grafana.people.edit_datasource("gpufleet-pg", user="other")
        result = apply(found.steps)
    assert "it clashes with what is there (Datasource has already been updated" in str(result.error)


def test_rules_that_grafana_refuses(grafana: StandIn) -> None:
    """Grafana's own words are told."""
    broken = with_rules()
    group = {**broken.groups[0], "interval": "7s", "rules": WANTED.groups[0]["rules"]}
    assert "should be positive and divided by 10" in str(push(grafana, replace(broken, groups=[group])).error)
