"""Writes what is exported as YAML, with where it is from."""

from collections.abc import Sequence
from typing import Any

import yaml

from gpufleet_server import __version__


def _string(dumper: Any, text: str) -> Any:
    """Texts of several lines as blocks, which people can read."""
    # A space before a line's end can't be written in a block.
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", lines, style="|" if "\n" in lines else None)


def _dumper() -> Any:
    dumper: Any = type("_Dumper", (yaml.SafeDumper,), {})
    dumper.add_representer(str, _string)
    return dumper


def text(document: dict[str, Any], comments: Sequence[str] = ()) -> str:
    """The document as YAML, with comments at its head."""
    head = [f"Made by gpufleet {__version__} (gpufleet alerts export): change the rules, not this file.", *comments]
    body: str = yaml.dump(document, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"# {line}\n" for line in head) + body
