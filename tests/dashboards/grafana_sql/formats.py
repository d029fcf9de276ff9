"""How a variable's value is written into a query, by the name behind the colon: `${v:csv}`."""

import datetime
import json
import re
import urllib.parse
from collections.abc import Callable, Sequence

Value = str | int | tuple[str, ...]
# JavaScript's encodeURIComponent and encodeURI leave these alone, and Grafana encodes !'()* besides.
_COMPONENT, _URI = "-_.~", "-_.~;/?:@&=+$,#"


class FormatError(ValueError):
    """A format that is not understood here; Grafana may know it."""


def formatted(value: Value, form: str, name: str, text: str) -> str:
    """A value in a format with its arguments; `text` is what the menu shows. FormatError."""
    kind, *arguments = form.split(":")
    if kind == "text":
        return text
    if kind == "date":
        return _date(value, ":".join(arguments) or "iso")
    if kind == "queryparam":
        return "&".join(f"var-{name}={_encoded(each, _COMPONENT)}" for each in _each(value))
    if kind == "join":
        return (arguments[0] if arguments else ",").join(_each(value))
    if kind not in _FORMATS:
        raise FormatError(f"no format {kind}")
    return _FORMATS[kind](value)


def in_sql(value: Value, *, quoted: bool) -> str:
    """Without a format: what the data source makes of it. `quoted` is of a variable that may have several values."""
    if isinstance(value, tuple):
        return ",".join(map(_literal, value))
    if isinstance(value, int):
        return str(value)
    return _literal(value) if quoted else value.replace("'", "''")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _each(value: Value) -> Sequence[str]:
    return value if isinstance(value, tuple) else (str(value),)


def _joined(separator: str) -> Callable[[Value], str]:
    return lambda value: separator.join(_each(value))


def _quoted(quote: str) -> Callable[[Value], str]:
    table = str.maketrans({quote: "\\" + quote})
    return lambda value: ",".join(quote + each.translate(table) + quote for each in _each(value))


def _sqlstring(value: Value) -> str:
    table = str.maketrans({"'": "''", '"': '\\"'})
    return ",".join("'" + each.translate(table) + "'" for each in _each(value))


def _glob(value: Value) -> str:
    each = _each(value)
    return "{" + ",".join(each) + "}" if len(each) > 1 else ",".join(each)


def _regex(value: Value) -> str:
    each = [re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", text) for text in _each(value)]
    return each[0] if len(each) == 1 else f"({'|'.join(each)})"


def _percent(safe: str) -> Callable[[Value], str]:
    def encode(value: Value) -> str:
        return _encoded("{" + ",".join(value) + "}" if isinstance(value, tuple) else str(value), safe)

    return encode


def _encoded(text: str, safe: str) -> str:
    return urllib.parse.quote(text, safe=safe)


def _json(value: Value) -> str:
    return (
        json.dumps(list(value), ensure_ascii=False, separators=(",", ":")) if isinstance(value, tuple) else str(value)
    )


def _date(value: Value, pattern: str) -> str:
    found = re.match(r"\s*[+-]?\d+", str(value)) if not isinstance(value, tuple) else None
    if found is None:
        return "NaN"
    ms = int(found[0])
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    forms = {"ms": str(value), "seconds": str((ms + 500) // 1000), "iso": f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"}
    if pattern not in forms:
        raise FormatError(f"dates are not written as {pattern} here: that depends on the browser")
    return forms[pattern]


_FORMATS: dict[str, Callable[[Value], str]] = {
    "raw": _joined(","),
    "csv": _joined(","),
    "pipe": _joined("|"),
    "glob": _glob,
    "json": _json,
    "regex": _regex,
    "singlequote": _quoted("'"),
    "doublequote": _quoted('"'),
    "sqlstring": _sqlstring,
    "percentencode": _percent(_COMPONENT),
    "uriencode": _percent(_URI),
}
