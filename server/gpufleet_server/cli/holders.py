"""Workloads in the words people use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpufleet_server.cli.render import Column

Item = dict[str, Any]
_SHORT = 12


def holder_text(holder: Item) -> str:
    """A workload in a few words, such as `alice job 4711`, `ml/train-0`, `jupyter.service (bob)` or `nobody`."""
    user = holder["user"]
    if holder["kind"] == "slurm":
        job = f"job {holder['job'] or holder['sluid'] or '?'}"
        return f"{user} {job}" if user else job
    if holder["kind"] == "kubernetes":
        pod = holder["pod"] or holder["pod_uid"] or "?"
        return f"{holder['namespace']}/{pod}" if holder["namespace"] else f"pod {pod}"
    if holder["kind"] == "container":
        return holder["container_name"] or f"{holder['runtime'] or 'container'} {(holder['container'] or '?')[:_SHORT]}"
    if holder["kind"] == "unit":
        return f"{holder['unit']} ({user})" if user else str(holder["unit"])
    return f"unknown ({user})" if holder["kind"] == "unknown" and user else str(holder["kind"])


def holders_text(gpu: Item) -> str:
    """Who holds a GPU now: a dash where its agent does not tell, and nothing where nobody does."""
    from gpufleet_server.cli import units

    found = gpu.get("holders")
    if found is None or gpu["state"] != "reporting":
        return units.ABSENT
    return ", ".join(dict.fromkeys(holder_text(each["holder"]) for each in found))


def holding_columns() -> "list[Column]":
    """The columns for who holds a GPU now."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    return [
        Column("HOLDER", lambda each: holder_text(each["holder"])),
        Column("SINCE", lambda each: units.age(each.get("since")).removesuffix(" ago"), 1, "right"),
        Column("MEMORY", lambda each: units.size(each["memory"]), 0, "right"),
        Column("ACTIVITY", lambda each: share(each["activity"]), 1, "right"),
        Column("PROCESSES", lambda each: units.number(each["processes"]), 2, "right"),
        Column("ACCOUNT", lambda each: units.text(each["holder"]["account"]), 3),
        Column("PARTITION", lambda each: units.text(each["partition"]), 4),
        Column("COMMAND", lambda each: units.text(each["holder"]["command"]), 5),
        Column("AS OF", lambda each: units.age(each["at"]), 2, "right"),
    ]


def share(value: float | None) -> str:
    """A share of 0 to 1 in percent."""
    from gpufleet_server.cli import units

    return units.percent(None if value is None else 100 * value)
