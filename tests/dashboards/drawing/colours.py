"""Colours by Grafana's names, by thresholds and by value mappings."""

from collections.abc import Mapping, Sequence
from typing import Any

_HUES = {
    "green": ("#C8F2C2", "#96D98D", "#73BF69", "#56A64B", "#37872D"),
    "yellow": ("#FFF899", "#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400"),
    "red": ("#FFA6B0", "#FF7383", "#F2495C", "#E02F44", "#C4162A"),
    "blue": ("#C0D8FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4"),
    "orange": ("#FFCB7D", "#FFB357", "#FF9830", "#FF780A", "#FA6400"),
    "purple": ("#DEB6F2", "#CA95E5", "#B877D9", "#A352CC", "#8F3BB8"),
}
_SHADES = ("super-light", "light", "", "semi-dark", "dark")
NAMED = {
    f"{shade}-{hue}".strip("-"): code
    for hue, codes in _HUES.items()
    for shade, code in zip(_SHADES, codes, strict=True)
}
_OTHERS = {"text": "#24292E", "gray": "#8E8E8E", "grey": "#8E8E8E", "white": "#FFFFFF", "black": "#000000"}
# The order in which series get theirs where nothing else says which.
CLASSIC = ("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A",
           "#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477")  # fmt: skip
ABSENT = "#E4E7EB"


def colour(name: str | None) -> str:
    """What a name stands for; a colour that is written out stays. KeyError where the name is unknown."""
    if name is None or name == "transparent":
        return "none"
    return name if name.startswith("#") else NAMED.get(name) or _OTHERS[name]


def of_threshold(value: Any, config: Mapping[str, Any]) -> str | None:
    """The colour of the step that a number has reached; None where there are no steps, or no number."""
    steps = (config.get("thresholds") or {}).get("steps") or []
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    reached = [step for step in steps if step.get("value") is None or value >= step["value"]]
    return colour(reached[-1]["color"]) if reached else None


def mapped(value: Any, mappings: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """The text and the colour that value mappings give, each None where they give none."""
    for mapping in mappings:
        options = mapping.get("options") or {}
        result: Mapping[str, Any] | None = None
        if mapping["type"] == "value":
            result = options.get(_key(value))
        elif mapping["type"] == "range" and isinstance(value, int | float):
            low, high = options.get("from"), options.get("to")
            within = (low is None or value >= low) and (high is None or value <= high)
            result = options["result"] if within else None
        elif mapping["type"] == "special" and options.get("match") in ("null", "null+nan") and value is None:
            result = options["result"]
        if result is not None:
            return result.get("text"), colour(result["color"]) if result.get("color") else None
    return None, None


def _key(value: Any) -> str:
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
