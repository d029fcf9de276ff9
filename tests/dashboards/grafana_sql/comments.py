"""Comments, which Grafana's back end takes out of a query before it looks for macros."""

import re

_PIECES = re.compile(
    r"""
    (?P<kept>'(?:[^']|'')*(?:'|\Z)                          # a text, to the end of the query where nothing ends it
    |"(?:[^"]|"")*(?:"|\Z)                                  # a name
    |\$(?P<tag>[A-Za-z_][A-Za-z0-9_]*|)\$.*?(?:\$(?P=tag)\$|\Z))  # a text between dollars
    |--[^\n]*
    |(?P<block>/\*.*?(?:\*/|\Z))
    """,
    re.VERBOSE | re.DOTALL,
)
# A tag as SQLCommenter writes it: names and quoted values.
_TAG = re.compile(r"/\*\s*[\w.%-]+='[^'$]*'(?:,[\w.%-]+='[^'$]*')*\s*\*/")


def stripped(sql: str) -> str:
    """A query without comments; tags that hold no macro stay."""
    return _PIECES.sub(_kept, sql)


def _kept(found: re.Match[str]) -> str:
    whole = found[0]
    return whole if found["kept"] is not None or _TAG.fullmatch(whole) else ""
