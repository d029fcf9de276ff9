"""How a field of a panel is to be shown: its name, unit, colour and texts, of the defaults and the overrides."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.dashboards.drawing import colours
from tests.dashboards.drawing.frames import NUMBER, Frame
from tests.dashboards.drawing.units import written
from tests.dashboards.grafana_sql.frames import Field


@dataclass(frozen=True)
class Look:
    """A field's settings: `config` are the panel's defaults with what overrides say of this field."""

    name: str
    config: Mapping[str, Any]

    @property
    def unit(self) -> str | None:
        """Its unit, by Grafana's name."""
        return self.config.get("unit")

    @property
    def custom(self) -> Mapping[str, Any]:
        """What only this kind of panel knows."""
        return self.config.get("custom") or {}

    def text(self, value: Any) -> str:
        """A value as it is written."""
        text, _ = colours.mapped(value, self.config.get("mappings") or [])
        if text is not None:
            return text
        if value is None:
            return str(self.config.get("noValue") or "–")
        return written(value, self.unit, self.config.get("decimals"))

    def colour(self, value: Any, place: int = 0) -> str:
        """The colour of a value: by mappings, a fixed one, thresholds, or that of its place among the series."""
        _, found = colours.mapped(value, self.config.get("mappings") or [])
        if found is not None:
            return found
        mode = (self.config.get("color") or {}).get("mode", "thresholds")
        if mode in ("fixed", "shades"):
            return colours.colour(self.config["color"].get("fixedColor", "blue"))
        if mode == "thresholds" and (found := colours.of_threshold(value, self.config)):
            return found
        return colours.CLASSIC[place % len(colours.CLASSIC)]


def look(panel: Mapping[str, Any], each: Field, of: Frame) -> Look:
    """The settings of a field of a frame."""
    told = panel.get("fieldConfig") or {}
    config: dict[str, Any] = dict(told.get("defaults") or {})
    shown = displayed(each, of)
    for override in told.get("overrides") or []:
        if _matches(override["matcher"], each, of, shown):
            for given in override["properties"]:
                _set(config, given["id"], given.get("value"))
    return Look(_named(config.get("displayName"), each, shown), config)


def displayed(each: Field, of: Frame) -> str:
    """The name that Grafana gives a field by itself."""
    if not each.labels:
        return each.name
    keys = {key for other in of.of(NUMBER) for key in other.labels}
    labels = next(iter(each.labels.values())) if len(keys) == 1 else _listed(each.labels)
    return labels if each.name.lower() == "value" else f"{each.name} {labels}"


def _listed(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def _named(display: str | None, each: Field, shown: str) -> str:
    if not display:
        return shown
    display = re.sub(r"\$\{__field\.labels\.([^}]+)\}", lambda found: each.labels.get(found[1], ""), display)
    return display.replace("${__field.name}", each.name).replace("${__field.displayName}", shown)


def _matches(matcher: Mapping[str, Any], each: Field, of: Frame, shown: str) -> bool:
    wanted = matcher.get("options")
    match matcher["id"]:
        case "byName":
            return wanted in (each.name, shown)
        case "byRegexp":
            return re.search(str(wanted).strip("/"), shown) is not None
        case "byType":
            return each.kind == wanted
        case "byFrameRefID":
            return of.ref == wanted
        case other:
            raise NotImplementedError(f"a matcher {other}")


def _set(config: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    place = config
    for folder in folders:
        place[folder] = dict(place.get(folder) or {})
        place = place[folder]
    place[last] = value


def transformed(panel: Mapping[str, Any], frames: Sequence[Frame]) -> list[Frame]:
    """The frames after the panel's transformations; NotImplementedError for one that is not known here."""
    for step in panel.get("transformations") or []:
        if not step.get("disabled"):
            change = _CHANGES.get(step["id"])
            if change is None:
                raise NotImplementedError(f"a transformation {step['id']}")
            frames = [each for frame in frames for each in change(frame, step.get("options") or {})]
    return list(frames)


def _partitioned(of: Frame, options: Mapping[str, Any]) -> Iterator[Frame]:
    """A frame for each value of the fields that are named, which become labels."""
    keys = [each for each in of.fields if each.name in options["fields"]]
    rest = [each for each in of.fields if each not in keys or options.get("keepFields")]
    rows: dict[tuple[Any, ...], list[int]] = {}
    for row in range(len(of)):
        rows.setdefault(tuple(each.values[row] for each in keys), []).append(row)
    for values, mine in rows.items():
        labels = {each.name: str(value) for each, value in zip(keys, values, strict=True)}
        yield Frame(of.ref, [Field(each.name, each.kind, [each.values[row] for row in mine], labels) for each in rest])


def _organized(of: Frame, options: Mapping[str, Any]) -> Iterator[Frame]:
    left_out, names, order = (options.get(key) or {} for key in ("excludeByName", "renameByName", "indexByName"))
    kept = [each for each in of.fields if not left_out.get(each.name)]
    kept.sort(key=lambda each: order.get(each.name, len(order)))
    yield Frame(
        of.ref, [Field(names.get(each.name) or each.name, each.kind, each.values, each.labels) for each in kept]
    )


_CHANGES: Mapping[str, Callable[[Frame, Mapping[str, Any]], Iterator[Frame]]] = {
    "organize": _organized,
    "partitionByValues": _partitioned,
}
