"""What an alert of a rule says, in the template language that Prometheus and Grafana share."""

import string
from collections.abc import Mapping

from gpufleet_server.alerts.discovery import runbook
from gpufleet_server.alerts.rule import Rule
from gpufleet_server.domain.clock import SECOND


def title(rule: Rule) -> str:
    """The first sentence of a rule's runbook."""
    return " ".join(runbook(rule.name).partition("\n\n")[0].split())


def summary(rule: Rule, labels: Mapping[str, str], where: str) -> str:
    """A rule's text with labels (what the text calls them → what they are called there) in it.

    Where the text names what there is no label for, it is the title of the runbook, and `where`.
    """
    parts = []
    for text, name, _, _ in string.Formatter().parse(rule.text):
        parts.append(text)
        if name is not None and name not in labels:
            return f"{title(rule).rstrip('.')} ({where})"
        if name is not None:
            parts.append(f"{{{{ $labels.{labels[name]} }}}}")
    return "".join(parts)


def length(micros: int) -> str:
    """A length of time (µs) as both write it: whole seconds, or minutes."""
    seconds = micros // SECOND
    return f"{seconds // 60}m" if seconds and seconds % 60 == 0 else f"{seconds}s"
