"""Options that several commands share."""

from typing import Annotated

import typer

_ACCESS, _FILTER, _SHOW = "Server", "Which", "Output"

Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="GPUFLEET_SERVER",
        rich_help_panel=_ACCESS,
        help="The server to read; else the one that `gpufleet up` or `demo` started last.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="GPUFLEET_TOKEN",
        rich_help_panel=_ACCESS,
        help="A reader token. Better in the environment: other users can see arguments.",
    ),
]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=_SHOW, help="Print the server's answer as JSON.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", rich_help_panel=_SHOW, help="Show at most this many.")]
All = Annotated[bool, typer.Option("--all", rich_help_panel=_SHOW, help="Show all, however many there are.")]

Sites = Annotated[
    list[str] | None,
    typer.Option("--site", metavar="SITE", rich_help_panel=_FILTER, help="Only at this site; may be repeated."),
]
Nodes = Annotated[
    list[str] | None,
    typer.Option(
        "--node", metavar="NODE", rich_help_panel=_FILTER, help="Only of this node: hostname or id; may be repeated."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="TEXT",
        rich_help_panel=_FILTER,
        help="Only models with this in their names; may be repeated.",
    ),
]
Simulated = Annotated[
    bool | None,
    typer.Option("--simulated/--real", rich_help_panel=_FILTER, help="Only simulated ones, or only real ones."),
]
Search = Annotated[
    str | None,
    typer.Option(
        "--search",
        "-q",
        metavar="TEXT",
        rich_help_panel=_FILTER,
        help="Only what a UUID's beginning, a serial or a hostname names.",
    ),
]

Uses = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        metavar="USE",
        rich_help_panel=_FILTER,
        help="Only those that report and are used so: active, held, free, unknown.",
    ),
]
NodeStates = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        rich_help_panel=_FILTER,
        help="Only in this state: reporting, driver_failed, not_reporting.",
    ),
]
GpuStates = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        rich_help_panel=_FILTER,
        help="Only in this state: reporting, lost, driver_failed, not_reporting, removed.",
    ),
]
