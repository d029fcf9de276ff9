"""The rules as pages of the documentation: a runbook each, and a table of all with thresholds and their sources."""

from collections.abc import Mapping

from gpufleet_server.alerts.discovery import runbook
from gpufleet_server.alerts.export.telling import length, title
from gpufleet_server.alerts.rule import Rule, Scope, Threshold
from gpufleet_server.domain.clock import SECOND

_MADE = "Generated from the rules (`server/gpufleet_server/alerts/rules/`) by `make docs`: do not edit.\n"
_HEAD = f"""# Alert rules

{_MADE}
What each means and what to do is in its runbook; how alerts live, are grouped and kept quiet in [alerts](alerts.md).
*After* is how long a condition has to hold before its alert fires, *keeps* for how long it stays after it last held.
Thresholds, severity and times are set otherwise, for all, a site or a model, by `gpufleet serve --alert-rules`.

| rule | severity | of | what it says | after | keeps | held back by |
|---|---|---|---|---|---|---|
"""
_THRESHOLDS = """
## Thresholds and sources

| rule | threshold | value | where it comes from |
|---|---|---|---|
"""


def runbook_page(rule: Rule) -> str:
    """The runbook of a rule, with what it goes by."""
    head, _, rest = runbook(rule.name).partition("\n\n")
    lines = [f"# {rule.name}", _MADE, head, *([rest] if rest else []), "## The rule", _facts(rule)]
    if rule.thresholds:
        rows = [f"| `{name}` | {_value(each)} | {_cell(each.source)} |" for name, each in rule.thresholds.items()]
        lines.append("\n".join(["| threshold | value | where it comes from |", "|---|---|---|", *rows]))
    if rule.source:
        lines.append(f"Source: {rule.source}")
    return "\n\n".join(line.rstrip("\n") for line in lines) + "\n"


def rules_page(rules: Mapping[str, Rule]) -> str:
    """All rules in a table, and all thresholds with where they come from."""
    return _HEAD + "".join(map(_row, rules.values())) + _THRESHOLDS + "".join(map(_sources, rules.values()))


def _facts(rule: Rule) -> str:
    labels = ", ".join(f"`{name}={value}`" for name, value in rule.labels.items())
    when = [f"every {rule.every} s"]
    if rule.on_events:
        when.append(f"at once for events of {', '.join(f'`{kind}`' for kind in rule.on_events)}")
    about = "GPU" if rule.scope is Scope.GPU else rule.scope.value
    said = [
        f"{rule.severity.value.capitalize()}, of a {about}{f', with {labels}' if labels else ''}.",
        f"Evaluated {', and '.join(when)}.",
        f"Fires after {_time(rule.wait)}." if rule.wait else "Fires as soon as it holds.",
    ]
    if rule.keep:
        said.append(f"Stays for {_time(rule.keep)} after it last held.")
    if rule.held_by:
        said.append(f"Held back by {_links(rule.held_by, '')}.")
    return " ".join(said)


def _row(rule: Rule) -> str:
    cells = (
        f"[`{rule.name}`](runbooks/{rule.name}.md)",
        rule.severity.value,
        rule.scope.value,
        _cell(title(rule)),
        _time(rule.wait) if rule.wait else "",
        _time(rule.keep) if rule.keep else "",
        _links(rule.held_by, "runbooks/"),
    )
    return "| " + " | ".join(cells) + " |\n"


def _sources(rule: Rule) -> str:
    rows = [
        f"| `{rule.name}` | `{name}` | {_value(each)} | {_cell(each.source)} |\n"
        for name, each in rule.thresholds.items()
    ]
    whole = f"| `{rule.name}` | | | {_cell(rule.source)} |\n" if rule.source else ""
    return "".join(rows) + whole


def _links(names: tuple[str, ...], folder: str) -> str:
    return ", ".join(f"[`{name}`]({folder}{name}.md)" for name in names)


def _value(threshold: Threshold) -> str:
    return f"{threshold.value:g} {threshold.unit}".strip()


def _time(seconds: int) -> str:
    return length(seconds * SECOND)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
