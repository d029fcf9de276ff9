"""What people changed in Grafana is kept, told of, and replaced only when asked for."""

from dataclasses import replace

import pytest
from gpufleet_dashboards.provision import Source
from gpufleet_dashboards.push.apply import State
from gpufleet_dashboards.push.datasource import of
from gpufleet_dashboards.push.failure import PushError
from gpufleet_dashboards.push.plan import plan
from gpufleet_dashboards.push.report import differences

from tests.dashboards.grafana_stand_in import StandIn
from tests.dashboards.push.pushing import (
    PASSWORD,
    SOURCE,
    WANTED,
    board,
    opened,
    push,
    rule,
    states,
    whys,
    with_boards,
    with_rules,
)

FLEET = "gpufleet-fleet"


def test_a_board_that_somebody_changed_is_kept(grafana: StandIn) -> None:
    """It is told who changed it and when, and that this release has no other."""
    push(grafana)
    grafana.people.edit_board(FLEET, "ann", title="Ann's fleet")
    found = push(grafana)
    assert found.written == 0 and states(found)[FLEET] is State.KEPT
    assert "changed in Grafana by ann, 2026-11-22" in whys(found)[0]
    assert not any(each.step.behind for each in found.outcomes)
    assert grafana.state.boards[FLEET].newest["title"] == "Ann's fleet"


def test_what_is_kept_is_behind_once_a_release_has_another(grafana: StandIn) -> None:
    """Then it is said that there is something that Grafana does not get."""
    push(grafana)
    grafana.people.edit_board(FLEET, title="Ann's fleet")
    found = push(grafana, replace(WANTED, boards=[board("fleet", refresh="5m"), *WANTED.boards[1:]]))
    assert [each.step.uid for each in found.outcomes if each.step.behind] == [FLEET]


def test_overwrite_replaces_it(grafana: StandIn) -> None:
    """As a version more, so that what somebody made can be had back; and then nothing is to do."""
    push(grafana)
    grafana.people.edit_board(FLEET, title="Ann's fleet")
    assert push(grafana, overwrite=True).written == 1
    assert grafana.state.boards[FLEET].newest["title"] == "Fleet"
    assert [each["title"] for each in grafana.state.boards[FLEET].versions] == ["Fleet", "Ann's fleet", "Fleet"]
    assert push(grafana, overwrite=True).written == 0


def test_a_board_that_was_never_pushed_is_kept(grafana: StandIn) -> None:
    """One of that uid from elsewhere, as an import by hand, is somebody's."""
    push(grafana, with_boards())
    sent = {"dashboard": board("fleet", title="Imported"), "folderUid": "gpufleet"}
    grafana.state.save_board(sent, "bob")
    found = push(grafana, with_boards(board("fleet")))
    assert states(found)[FLEET] is State.KEPT and found.outcomes[-1].step.behind


def test_a_board_stays_where_somebody_moved_it(grafana: StandIn) -> None:
    """A new release updates it there; overwriting takes it back."""
    push(grafana)
    grafana.state.create_folder({"uid": "mine", "title": "Mine"})
    grafana.people.move_board(FLEET, "mine")
    newer = replace(WANTED, boards=[board("fleet", refresh="5m"), *WANTED.boards[1:]])
    assert push(grafana, newer).written == 1
    assert grafana.state.boards[FLEET].folder == "mine"
    push(grafana, newer, overwrite=True)
    assert grafana.state.boards[FLEET].folder == "gpufleet"


def test_a_data_source_that_somebody_changed_is_kept(grafana: StandIn) -> None:
    """It is told which settings; overwriting sends them, and neither loses the password or what is set beside them."""
    push(grafana)
    grafana.people.edit_datasource("gpufleet-pg", url="replica:5432", isDefault=True)
    found = push(grafana)
    assert states(found)["gpufleet-pg"] is State.KEPT and whys(found) == ["changed in Grafana: url"]
    push(grafana, overwrite=True)
    now = grafana.state.datasources["gpufleet-pg"]
    assert (now["url"], now["isDefault"]) == ("db:5432", True)
    assert grafana.state.secrets["gpufleet-pg"] == {"password": PASSWORD}


def test_new_settings_of_a_data_source_replace_the_old(grafana: StandIn) -> None:
    """Where nobody changed what was pushed."""
    push(grafana)
    moved = of(Source("db2:5432", "fleet", "reader", "require"))
    assert push(grafana, replace(WANTED, settings=moved)).written == 1
    assert grafana.state.datasources["gpufleet-pg"]["url"] == "db2:5432"
    assert grafana.state.secrets["gpufleet-pg"] == {"password": PASSWORD}


def test_a_password_is_sent_again_when_asked_for(grafana: StandIn) -> None:
    """Grafana does not tell what it has, so that only a wish can say that it is another."""
    push(grafana)
    assert push(grafana, replace(WANTED, settings=replace(SOURCE, password="other"))).written == 0
    assert push(grafana, replace(WANTED, settings=replace(SOURCE, password="other", renew=True))).written == 1
    assert grafana.state.secrets["gpufleet-pg"] == {"password": "other"}


def test_a_rule_that_somebody_changed_is_kept_beside_new_ones(grafana: StandIn) -> None:
    """A paused rule and one that somebody added stay as they are while the others are brought up to date."""
    push(grafana, with_rules(rule("gpu_hot"), rule("gpu_lost")))
    grafana.people.edit_rule("gpufleet-gpu_hot", lambda found: found.update(isPaused=True))
    theirs = {**grafana.state.rules["gpufleet-gpu_lost"], "uid": "theirs", "title": "theirs"}
    grafana.state.rules["theirs"] = theirs
    newer = with_rules(rule("gpu_hot", execErrState="OK"), rule("gpu_lost", **{"for": "10m"}), rule("gpu_new"))
    found = push(grafana, newer)
    assert whys(found) == ["2 of 4; changed in Grafana: gpu_hot"]
    rules = grafana.state.rules
    assert rules["gpufleet-gpu_hot"]["isPaused"] and rules["gpufleet-gpu_hot"]["execErrState"] == "Error"
    assert rules["gpufleet-gpu_lost"]["for"] == "10m" and {"theirs", "gpufleet-gpu_new"} <= rules.keys()
    assert push(grafana, newer).written == 0
    push(grafana, newer, overwrite=True)
    assert not grafana.state.rules["gpufleet-gpu_hot"]["isPaused"] and "theirs" in grafana.state.rules


def test_a_rule_that_is_no_more_goes(grafana: StandIn) -> None:
    """Unless somebody made it their own."""
    push(grafana, with_rules(rule("gpu_hot"), rule("gpu_lost"), rule("gpu_old")))
    grafana.people.edit_rule("gpufleet-gpu_old", lambda found: found["labels"].update(team="ours"))
    push(grafana, with_rules(rule("gpu_hot")))
    assert grafana.state.rules.keys() == {"gpufleet-gpu_hot", "gpufleet-gpu_old"}


def test_rules_may_be_edited_in_grafana(grafana: StandIn) -> None:
    """They have no provenance, with which Grafana's pages would not let anybody change them."""
    push(grafana)
    assert all("provenance" not in each for each in grafana.state.rules.values())


def test_what_differs_is_shown(grafana: StandIn) -> None:
    """As a diff, for what was changed alone."""
    push(grafana)
    grafana.people.edit_board(FLEET, title="Ann's fleet")
    with opened(grafana) as client:
        shown = list(differences(plan(client, WANTED)))
    changed = [line for line in shown if line.startswith(("-  ", "+  "))]
    assert changed == ['-  "title": "Ann\'s fleet",', '+  "title": "Fleet",']
    assert shown[0].endswith("board Fleet there")


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_grafana_read_from_files_is_not_pushed_over(grafana: StandIn, overwrite: bool) -> None:
    """Nothing at all is written, and each is told of at once."""
    push(grafana)
    grafana.state.boards[FLEET].provisioned = "gpufleet-fleet.json"
    grafana.state.datasources["gpufleet-pg"]["readOnly"] = True
    grafana.people.edit_rule("gpufleet-gpu_hot", lambda found: found.update(provenance="file"))
    before = grafana.state.writes
    newer = replace(
        WANTED,
        boards=[board("fleet", refresh="5m")],
        settings=of(Source("db2:5432", "fleet", "reader", "require")),
        groups=[{**WANTED.groups[0], "rules": [rule("gpu_hot", execErrState="OK")]}],
    )
    with pytest.raises(PushError) as error:
        push(grafana, newer, overwrite=overwrite)
    for told in ("gpufleet-fleet.json", "url would change", "Grafana read gpu_hot from a file"):
        assert told in str(error.value)
    assert grafana.state.writes == before
