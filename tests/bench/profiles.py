"""Reads what py-spy wrote: where the server's time goes."""

import collections
from pathlib import Path

from rich.table import Table


def hottest(path: Path, count: int = 30) -> Table:
    """Functions of gpufleet by the share of samples in which they, or what they call, were running."""
    inside: collections.Counter[str] = collections.Counter()
    at: collections.Counter[str] = collections.Counter()
    for stack, samples in _stacks(path):
        ours = [frame for frame in stack if "gpufleet_" in frame]
        inside.update(dict.fromkeys(ours, samples))
        at[ours[-1] if ours else "elsewhere"] += samples
    total = max(1, at.total())
    table = Table("function", "% with what it calls", "% itself and libraries", title=f"{path}: {total} samples")
    for frame, samples in inside.most_common(count):
        table.add_row(frame, f"{100 * samples / total:.1f}", f"{100 * at[frame] / total:.1f}")
    return table


def _stacks(path: Path) -> list[tuple[list[str], int]]:
    lines = (line.rpartition(" ") for line in path.read_text().splitlines())
    return [(stack.split(";"), int(samples)) for stack, _, samples in lines]
