"""`gpufleet xid`: what an XID means, what to do, and how often this fleet had it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.domain.xids import Table, Xid

Item = dict[str, Any]

# So many events are counted; more are "or more".
_MOST = 5000


def xid(
    codes: Annotated[list[str], typer.Argument(metavar="CODE...", help="XIDs, such as 79.")],
    since: Annotated[
        str,
        typer.Option(metavar="TIME", help="Count from then on how often the fleet had it: a time, or a length ago."),
    ] = "30d",
    xids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="GPUFLEET_XIDS", help="Changes of one's own to what is known of XIDs, TOML."
        ),
    ] = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Explain XIDs: what they mean, what to do, and who says otherwise.

    Where a server is known it is also told how often its fleet had them of late; without one all the rest is.
    """
    from gpufleet_server.cli.times import moment
    from gpufleet_server.domain.xids import parse_codes

    try:
        wanted = list(dict.fromkeys(parse_codes(codes)))
    except ValueError as error:
        raise CliError(str(error), 2) from None
    begin, table = moment(since, "--since"), xid_table(xids)
    fleet = _fleet(wanted, begin, server, token)
    known = [found for code in wanted if (found := table.get(code)) is not None]
    if json:
        _show_json(known, fleet, begin)
    else:
        for number, each in enumerate(known):
            typer.echo(("\n" if number else "") + _text(each, fleet.get(each.code), since))
    _complain([code for code in wanted if table.get(code) is None], table, fleet)


def xid_table(file: Path | None) -> "Table":
    """What is known of XIDs, with the changes of a file. CliError where that can't be used."""
    from gpufleet_server.domain.xids import XidsError, catalogue

    try:
        return catalogue() if file is None else catalogue().changed(file)
    except XidsError as error:
        raise CliError(str(error), 2) from error


def _complain(unknown: list[int], table: "Table", fleet: dict[int, Item]) -> None:
    if unknown:
        had = [f"the fleet had it {_times(found)}" for code in unknown if (found := fleet.get(code)) and found["count"]]
        which = ", ".join(map(str, unknown))
        raise CliError(
            f"no table here knows XID {which}{f' ({had[0]})' if had else ''}: known are {min(table.xids)} to "
            f"{max(table.xids)}; NVIDIA's newest list is at https://docs.nvidia.com/deploy/xid-errors"
        )


def _fleet(codes: list[int], since: str, server: str | None, token: str | None) -> dict[int, Item]:
    """How often the fleet had each, where a server answers; says so where one should and does not."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.settings import access

    try:
        where = access(server, token)
    except CliError as error:
        if server is not None:
            typer.echo(f"gpufleet: not counted: {error}", err=True)
        return {}
    try:
        with Api(where, timeout=10.0) as api:
            return {code: _counted(api.pages("/events", _asked(code, since), _MOST)) for code in codes}
    except CliError as error:
        typer.echo(f"gpufleet: not counted: {error}", err=True)
        return {}


def _asked(code: int, since: str) -> dict[str, Any]:
    return {"kind": ["xid"], "code": code, "since": since}


def _counted(found: Item) -> Item:
    events = found["items"]
    return {
        "count": len(events),
        "or_more": found["next"] is not None,
        "gpus": len({event["gpu"] for event in events if event["gpu"] is not None}),
        "nodes": len({event["node"]["id"] for event in events}),
        "last": events[0]["at"] if events else None,
        "last_node": events[0]["node"]["hostname"] if events else None,
    }


def _show_json(known: "list[Xid]", fleet: dict[int, Item], since: str) -> None:
    import dataclasses

    from gpufleet_server.cli.plain import show_json

    items = []
    for each in known:
        told = dataclasses.asdict(each) | {"advice": each.action.text}
        counted = fleet.get(each.code)
        items.append(told | {"fleet": None if counted is None else counted | {"since": since}})
    show_json({"items": items})


def _text(it: "Xid", counted: Item | None, since: str) -> str:
    lines = [f"XID {it.code}  {it.meaning or it.mnemonic}"]
    rows = [("NVIDIA's name", it.mnemonic + ("" if it.in_use else " (current drivers do not report it)"))]
    rows.append(("Severity", it.severity.value))
    rows.append(("Do", f"{it.action.text}{f' [{it.nvidia}]' if it.nvidia else ''}"))
    if it.then:
        rows.append(("Again", it.then[0].upper() + it.then[1:] + f". [{it.nvidia_then}]"))
    if it.why:
        rows.append(("Why so", it.why))
    rows += [("Others" if not number else "", f"{each.source}: {each.says}") for number, each in enumerate(it.opinions)]
    if counted is not None:
        rows.append(("This fleet", _had(counted, since)))
    width = max(len(name) for name, _ in rows)
    return "\n".join([*lines, *(f"  {name:<{width}}  {text}" for name, text in rows)])


def _had(counted: Item, since: str) -> str:
    from gpufleet_server.cli import units

    period = f"in the last {since}" if since[-1:].isalpha() else f"since {since}"
    if not counted["count"]:
        return f"not once {period}"
    where = f"on {_plural(counted['gpus'], 'GPU')} of {_plural(counted['nodes'], 'node')}"
    return f"{_times(counted)} {period} {where}; last {units.age(counted['last'])} on {counted['last_node']}"


def _times(counted: Item) -> str:
    more = " or more" if counted["or_more"] else ""
    return f"{counted['count']:,}{more} times" if counted["count"] != 1 else "once"


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
