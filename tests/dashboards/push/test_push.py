"""Pushing twice: what is made, and that nothing more is."""

from dataclasses import replace

from gpufleet_dashboards.push.apply import State
from gpufleet_dashboards.push.plan import plan

from tests.dashboards.grafana_stand_in import StandIn
from tests.dashboards.push.pushing import PASSWORD, WANTED, board, held, opened, push, states, with_boards


def test_an_empty_grafana_gets_all_of_it(grafana: StandIn) -> None:
    """Folder, data source with its password, boards in the folder, rules in their group."""
    found = push(grafana)
    assert found.error is None and set(states(found).values()) == {State.CREATED}
    assert held(grafana) == states(found).keys()
    assert grafana.state.secrets["gpufleet-pg"] == {"password": PASSWORD}
    assert {each.folder for each in grafana.state.boards.values()} == {"gpufleet"}
    assert {each["ruleGroup"] for each in grafana.state.rules.values()} == {"gpufleet"}


def test_the_second_push_writes_nothing(grafana: StandIn) -> None:
    """Not one request that changes anything, and it is told of each thing."""
    push(grafana)
    before = grafana.state.writes
    found = push(grafana)
    assert set(states(found).values()) == {State.SAME} and found.written == 0
    assert grafana.state.writes == before
    assert {each.version for each in grafana.state.boards.values()} == {1}


def test_what_grafana_rewrites_by_itself_is_no_change(grafana: StandIn) -> None:
    """A board that comes back with another schema version is the one that was pushed."""
    push(grafana)
    grafana.state.migrate = True
    assert push(grafana).written == 0


def test_a_new_release_updates_what_nobody_changed(grafana: StandIn) -> None:
    """A board that is otherwise than the one pushed before is saved once, as the next version."""
    push(grafana)
    newer = replace(WANTED, boards=[board("fleet", refresh="5m"), *WANTED.boards[1:]])
    found = push(grafana, newer)
    assert states(found)["gpufleet-fleet"] is State.UPDATED and found.written == 1
    assert grafana.state.boards["gpufleet-fleet"].newest["refresh"] == "5m"
    assert push(grafana, newer).written == 0


def test_looking_writes_nothing(grafana: StandIn) -> None:
    """A plan alone changes nothing."""
    with opened(grafana) as client:
        found = plan(client, WANTED)
    assert len(found.steps) == 6 and all(step.writes for step in found.steps)
    assert grafana.state.writes == 0


def test_a_folder_is_found_by_its_title(grafana: StandIn) -> None:
    """A folder of that title is used, whatever its uid, also after somebody renamed the one that was made."""
    grafana.state.create_folder({"uid": "abc", "title": "GPU team"})
    push(grafana, replace(WANTED, folder="GPU team"))
    assert {each.folder for each in grafana.state.boards.values()} == {"abc"}
    assert list(grafana.state.folders) == ["abc"]


def test_a_renamed_folder_stays_in_use(grafana: StandIn) -> None:
    """The folder that a push made is known by its uid when somebody has renamed it."""
    wanted = replace(with_boards(board("fleet")), folder="GPU things")
    push(grafana, wanted)
    grafana.state.folders["GPU-things"]["title"] = "All about GPUs"
    assert push(grafana, wanted).written == 0
    assert list(grafana.state.folders) == ["GPU-things"]
