"""What to do about the alerts of each rule, as one page of Markdown."""

from gpufleet_server.alerts.discovery import every_rule, runbook


def page() -> str:
    """A heading and the runbook of every rule, by the rule's name."""
    return "\n\n".join(f"## {name}\n\n{runbook(name)}" for name in every_rule())
