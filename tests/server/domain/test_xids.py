"""What is known of XIDs: NVIDIA's catalogue whole, our additions with their reasons, changes of one's own over it."""

from pathlib import Path

import pytest
from gpufleet_agent.xids import xid_text
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.domain.xids import Action, Table, XidsError, catalogue, parse_codes


def changed(tmp_path: Path, text: str) -> Table:
    """The catalogue with a file of one's own."""
    file = tmp_path / "xids.toml"
    file.write_text(text)
    return catalogue().changed(file)


def test_the_whole_catalogue_is_there() -> None:
    """172 codes, each with an action; what the agent calls a code is what the server calls it."""
    xids = catalogue().xids
    assert sorted(xids) == list(range(1, 173))
    assert all(each.meaning == xid_text(code) for code, each in xids.items() if each.meaning)
    assert sum(len(catalogue().codes(action)) for action in Action) == 172


@pytest.mark.parametrize(
    ("action", "codes"),
    [
        (Action.RESTART_APP, [13, 31, 32, 94]),
        (Action.RESET_GPU, [46, 62, 64, 95, 109, 119, 120, 136, 140, 143, 155, 156, 158]),
        (Action.REBOOT_NODE, [79]),
        (Action.WORKFLOW, [45, 48, 74, *range(144, 151), 154, 171, 172]),
        (Action.IGNORE, [43, 63, 92, 121, 137]),
        (Action.INSPECT, [54]),
        (Action.CONTACT_SUPPORT, [58]),
        (Action.UNKNOWN, [168]),
    ],
)
def test_actions(action: Action, codes: list[int]) -> None:
    """The codes that are met on servers have the action that NVIDIA's catalogue gives them."""
    assert set(codes) <= set(catalogue().codes(action))


def test_severities_and_reasons() -> None:
    """An action's severity, unless a reason is given for another; every code that ends work is critical."""
    assert set(catalogue().codes(*Action, severity=Severity.CRITICAL)) >= {48, 62, 64, 74, 79, 95, 119, 120, 171}
    assert catalogue().xids[13].severity is Severity.INFO
    assert catalogue().xids[94].severity is Severity.WARNING
    assert all(catalogue().xids[code].why for code in (48, 94, 109, 167))


def test_those_who_disagree() -> None:
    """They are named with what they do."""
    found = {code: [each.source for each in catalogue().xids[code].opinions] for code in (62, 64, 109, 14)}
    assert "NVIDIA's DCGM" in found[62]
    assert any("awslabs" in source for source in found[64])
    assert "Meta's GCM health checks" in found[109]
    assert found[14] == []


def test_changes_of_ones_own(tmp_path: Path) -> None:
    """They go over the catalogue; the severity follows the action; a new code needs an action."""
    table = changed(
        tmp_path, '[xid.109]\naction = "ignore"\nwhy = "ours"\n[xid.999]\naction = "reset_gpu"\nmeaning = "new"\n'
    )
    assert (table.xids[109].action, table.xids[109].severity, table.xids[109].why) == ("ignore", "info", "ours")
    assert (table.xids[999].meaning, table.xids[999].severity) == ("new", "critical")
    assert catalogue().xids[109].action is Action.RESET_GPU
    assert 109 in table.codes(Action.IGNORE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[xid.79]\naction = "reboot"', "Invalid enum value 'reboot'"),
        ('[xid.79]\nseverity = "grave"', "Invalid enum value 'grave'"),
        ("[xid.seventy]", "Expected `int`"),
        ("[xid.999]", "xid.999: it is in no table: give its action"),
        ('[[opinion]]\ncodes = [999]\nsource = "a"\nsays = "b"', "there is no XID 999"),
        ("[xids.79]", "unknown field `xids`"),
        ("=", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    """With the file and the field."""
    with pytest.raises(XidsError, match=r"xids\.toml: ") as error:
        changed(tmp_path, text)
    assert said in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is an error that names it."""
    with pytest.raises(XidsError, match=r"can't read .*none: No such file"):
        catalogue().changed(tmp_path / "none")


def test_codes_as_people_write_them() -> None:
    """With and without the word; what is none is an error."""
    assert parse_codes(["79", "xid79", "XID 48", "Xid:31"]) == [79, 79, 48, 31]
    for text in ("", "xid", "7x", "-1", "²"):
        with pytest.raises(ValueError, match="is no XID"):
            parse_codes([text])
