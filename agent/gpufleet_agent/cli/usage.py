"""Who holds a GPU, as JSON and as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gpufleet_agent.cli.readable import iso, size
from gpufleet_agent.usage.holder import GpuUsage, Holder, ProcessUsage

_HEAD = ("PID", "USER", "TYPE", "MEMORY", "SM", "COMMAND", "HOLDER")
_WIDEST = 60


def document(usage: Sequence[GpuUsage]) -> list[dict[str, Any]]:
    """The processes on one GPU and its partitions; every field is there, the absent ones as null."""
    return [
        {"partition": found.partition, "reason": found.reason, "processes": [_process(p) for p in found.processes]}
        for found in usage
    ]


def lines(usage: Sequence[GpuUsage]) -> Iterator[str]:
    """A table of the processes, and a line for each list that is not known."""
    rows = [_row(process, found.partition) for found in usage for process in found.processes]
    for found in usage:
        if found.reason is not None:
            yield f"  processes{_on(found.partition)}: ({found.reason})"
    if not rows:
        if all(found.reason is None for found in usage):
            yield "  no processes"
        return
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    for row in (_HEAD, *rows):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def said(holder: Holder) -> str:
    """The holder in words, with what it is known by."""
    if holder.kind == "unknown":
        return f"unknown ({holder.absent.get('workload', 'no reason was given')})"
    if holder.kind == "unit":
        return f"{holder.unit}"
    return "; ".join(filter(None, (_slurm(holder), _pod(holder), _container(holder))))


def _process(process: ProcessUsage) -> dict[str, Any]:
    shown = {name: msgspec.to_builtins(getattr(process, name)) for name in process.__struct_fields__}
    holder = {name: getattr(process.holder, name) for name in process.holder.__struct_fields__}
    return {**shown, "started": iso(process.started) if process.started else None, "holder": holder}


def _row(process: ProcessUsage, partition: str | None) -> tuple[str, ...]:
    holder = process.holder
    user = holder.user or ("?" if holder.uid is None else str(holder.uid))
    memory = f"({process.absent.get('memory')})" if process.memory is None else size(process.memory)
    share = f"({process.absent.get('sm')})" if process.sm is None else f"{process.sm:.0f} %"
    command = (process.command_line or process.command or "?")[:_WIDEST]
    pid = str(process.pid) if process.pid else "?"
    return pid, user, "+".join(process.kinds), memory, share, command, said(holder) + _on(partition)


def _on(partition: str | None) -> str:
    return f" on {partition}" if partition else ""


def _slurm(holder: Holder) -> str:
    if holder.kind != "slurm":
        return ""
    words = [f"Slurm job {holder.job or holder.sluid}"]
    words += [f"{word} {value}" for word, value in (("step", holder.step), ("task", holder.task)) if value]
    pairs = (("account", holder.account), ("partition", holder.slurm_partition))
    more = ", ".join(f"{word} {value}" for word, value in pairs if value)
    return " ".join(words) + (f" ({more})" if more else "")


def _pod(holder: Holder) -> str:
    if holder.pod_uid is None:
        return ""
    return f"pod {holder.namespace}/{holder.pod}" if holder.pod else f"pod {holder.pod_uid}"


def _container(holder: Holder) -> str:
    if holder.container is None:
        return ""
    return f"{holder.runtime or 'container'} {holder.container_name or holder.container[:12]}"
