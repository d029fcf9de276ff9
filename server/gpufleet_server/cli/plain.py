"""Text of other machines, made safe to show on a terminal."""

import json
import re
import sys
from typing import Any

# What can steer a terminal or turn its text round: C0, DEL and C1, line separators, and changes of direction.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(value: Any) -> Any:
    """JSON with `�` for every character that would steer a terminal: names and messages come from other machines."""
    if isinstance(value, str):
        return _CONTROLS.sub("�", value)
    if isinstance(value, dict):
        return {clean(key): clean(one) for key, one in value.items()}
    return [clean(one) for one in value] if isinstance(value, list) else value


def show_json(what: Any) -> None:
    """Print it as JSON; what would steer a terminal is escaped."""
    sys.stdout.write(json_text(what, indent=2) + "\n")


def json_text(what: Any, indent: int | None = None) -> str:
    """It as JSON that is safe to print: what would steer a terminal is escaped."""
    text = json.dumps(what, indent=indent, ensure_ascii=False)
    # The line breaks are those of the layout: within strings they are escaped already.
    return _CONTROLS.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)
