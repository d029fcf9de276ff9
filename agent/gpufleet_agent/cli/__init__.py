"""The command line: `gpufleet-agent run | once | check | pause | resume | status | config check`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gpufleet_agent import __version__
from gpufleet_agent.config import ConfigError, Gathered, gather
from gpufleet_agent.settings import SETTINGS, read_length

_EXIT_CODES = """\
exit codes:
  0  fine
  1  a problem: see what was said
  2  wrong usage or configuration
  3  no driver (once, check, resume)
"""
_COMMANDS = {
    "run": "read the driver and report to the server until told to stop",
    "once": "read one whole report and print it; nothing is sent or kept",
    "check": "say what this host can and cannot give, and why",
}
_TO_THE_AGENT = {
    "pause": "have the running agent let go of the driver, for updates of it, MIG changes, VFIO or profilers",
    "resume": "have it read the driver again",
    "status": "say how the running agent stands: driver, pause, server, backlog",
}
_MOST_REASON = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. The exit code."""
    flags = vars(_parser().parse_args(arguments))
    command, file = flags.pop("command"), flags.pop("config", None)
    flags.pop("config_command", None)
    as_json, timeout = flags.pop("json", False), flags.pop("timeout", 0.0)
    reason, seconds = flags.pop("reason", ""), flags.pop("for", None)
    try:
        gathered = gather(flags, os.environ, file)
        if command in _TO_THE_AGENT:
            return _ask_agent(command, gathered, reason, seconds, as_json, timeout)
        return _run(command, gathered, as_json, timeout)
    except ConfigError as error:
        for problem in error.problems:
            print(f"gpufleet-agent: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(command: str, gathered: Gathered, as_json: bool, timeout: float) -> int:
    if command == "config check":
        from gpufleet_agent.cli.settings import check_settings

        return check_settings(gathered, as_json)
    config = gathered.config()
    if command == "run":
        from gpufleet_agent.cli.run import run

        return run(config)
    if command == "once":
        from gpufleet_agent.cli.once import once

        return once(config, as_json, timeout)
    from gpufleet_agent.cli.check import check

    return check(config, as_json, timeout)


def _ask_agent(
    command: str, gathered: Gathered, reason: str, seconds: float | None, as_json: bool, timeout: float
) -> int:
    from gpufleet_agent.cli.control import control
    from gpufleet_agent.runtime.control import Ask

    asked = Ask(command, reason, seconds)  # type: ignore[arg-type]
    # Of all settings this needs one; what may be wrong with the others is no reason to leave the driver in use.
    return control(gathered.state_dir(), asked, timeout, as_json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpufleet-agent",
        description="Reads this host's GPU driver and reports to a gpufleet server.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gpufleet-agent {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="run | once | check | pause | resume | status | config"
    )
    for name, help in _COMMANDS.items():
        command = _add_command(commands, name, help)
        if name != "run":
            command.add_argument("--json", action="store_true", help="print JSON")
            command.add_argument(
                "--timeout",
                type=_timeout,
                default=60.0,
                metavar="SECONDS",
                help="give up on a driver that does not answer after this time (60)",
            )
        _add_settings(command)
    for name, help in _TO_THE_AGENT.items():
        _add_to_agent(_add_command(commands, name, help))
    _add_config_command(_add_command(commands, "config", "look after the settings"))
    return parser


def _add_config_command(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="config_command", required=True, metavar="check")
    check = _add_command(commands, "check", "show each setting, its value, where it comes from, and what is wrong")
    check.set_defaults(command="config check")
    check.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(check)


def _add_to_agent(parser: argparse.ArgumentParser) -> None:
    if parser.prog.endswith(" pause"):
        parser.add_argument(
            "--reason", type=_reason, default="", metavar="TEXT", help="why; told to the server and shown there"
        )
        parser.add_argument(
            "--for", type=_length, default=None, metavar="TIME", help="end by itself after this time, such as 2h"
        )
    parser.add_argument("--json", action="store_true", help="print JSON")
    wait = "wait so long for the agent's answer, s (90)"
    parser.add_argument("--timeout", type=_timeout, default=90.0, metavar="SECONDS", help=wait)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the running agent's settings", default=None)
    parser.add_argument(
        "--state-dir", metavar="FOLDER", default=argparse.SUPPRESS, help="the running agent's state folder"
    )


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return command


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, not {text!r}") from None
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected more than 0 s and at most a day, not {text}")
    return seconds


def _reason(text: str) -> str:
    if len(text) > _MOST_REASON or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected at most {_MOST_REASON} characters on one line")
    return text.strip()


def _length(text: str) -> float:
    try:
        return read_length(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "settings", "Each may also stand in the file, or in the environment as GPUFLEET_AGENT_<NAME>; flags come first."
    )
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="settings as TOML (/etc/gpufleet/agent.toml)", default=None
    )
    for setting in SETTINGS:
        if setting.switch:
            group.add_argument(setting.flag, action="store_true", default=argparse.SUPPRESS, help=setting.help)
            continue
        group.add_argument(
            setting.flag,
            dest=setting.key,
            action="append" if setting.key == "labels" else "store",
            default=argparse.SUPPRESS,
            metavar=setting.metavar,
            help=setting.help,
        )
