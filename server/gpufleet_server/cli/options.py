"""Options that several commands share."""

from typing import Annotated, Any

import typer


def _of(panel: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **settings)


_ACCESS, _FILTER, _SHOW = "Server", "Which", "Output"

Server = Annotated[
    str | None,
    _of(
        _ACCESS,
        metavar="URL",
        envvar="GPUFLEET_SERVER",
        help="The server to read; else the one that `gpufleet up` or `demo` started last.",
    ),
]
Token = Annotated[
    str | None,
    _of(
        _ACCESS,
        metavar="TOKEN",
        envvar="GPUFLEET_TOKEN",
        help="A reader token. Better in the environment: other users can see arguments.",
    ),
]
Json = Annotated[bool, _of(_SHOW, "--json", help="Print the server's answer as JSON.")]
Limit = Annotated[int, _of(_SHOW, min=1, metavar="N", help="Show at most this many.")]
All = Annotated[bool, _of(_SHOW, "--all", help="Show all, however many there are.")]

Sites = Annotated[list[str] | None, _of(_FILTER, "--site", metavar="SITE", help="Only at this site; may be repeated.")]
Nodes = Annotated[
    list[str] | None,
    _of(_FILTER, "--node", metavar="NODE", help="Only of this node: hostname or id; may be repeated."),
]
Models = Annotated[
    list[str] | None,
    _of(_FILTER, "--model", metavar="TEXT", help="Only models with this in their names; may be repeated."),
]
Simulated = Annotated[bool | None, _of(_FILTER, "--simulated/--real", help="Only simulated ones, or only real ones.")]
Search = Annotated[
    str | None,
    _of(_FILTER, "--search", "-q", metavar="TEXT", help="Only what a UUID's beginning, a serial or a hostname names."),
]
Uses = Annotated[
    list[str] | None,
    _of(
        _FILTER,
        "--use",
        metavar="USE",
        help="Only those that report and are used so: active, held, free, unknown; may be repeated.",
    ),
]
NodeStates = Annotated[
    list[str] | None,
    _of(
        _FILTER,
        "--state",
        metavar="STATE",
        help="Only in this state: reporting, in_maintenance, driver_failed, not_reporting; may be repeated.",
    ),
]
GpuStates = Annotated[
    list[str] | None,
    _of(
        _FILTER,
        "--state",
        metavar="STATE",
        help="Only in this state: reporting, in_maintenance, lost, driver_failed, not_reporting, removed; may be "
        "repeated.",
    ),
]
