"""How a simulated fleet goes on: a line now and then, for people or as JSON."""

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from gpufleet_server.simulate.fleet import Fleet
    from gpufleet_server.simulate.statistics import Latency, Tally


@dataclass(frozen=True, slots=True)
class _Mark:
    """The counts at one moment (monotonic s), and the CPU seconds that the process has taken until then."""

    at: float
    cpu: float
    counts: dict[str, Any]
    latency: "Latency"


class Progress:
    """Tells what a fleet did since the line before, and altogether."""

    def __init__(self, it: "Fleet", agents: int, gpus: int, *, as_json: bool) -> None:
        self._fleet, self._about, self.as_json = it, {"agents": agents, "gpus": gpus}, as_json
        self.start()

    def start(self) -> None:
        """Count the time from now on."""
        self._first = self._before = self._mark()

    @property
    def incomplete(self) -> str:
        """What is missing at the end; empty where all that was made is committed."""
        tally = self._fleet.tally()
        if not tally.waiting and not tally.dropped:
            return ""
        told = f"; last trouble: {tally.trouble}" if tally.trouble else ""
        return f"{tally.waiting} reports are not committed and {tally.dropped} were dropped{told}"

    @property
    def refused(self) -> str:
        """What the server says to the join token, where it has not taken it once."""
        tally = self._fleet.tally()
        return tally.trouble if tally.not_enrolled and not tally.enrolled else ""

    def show(self, *, final: bool = False) -> None:
        """Print a line."""
        mark = self._mark()
        told = self._told(mark, final)
        self._before = mark
        if self.as_json:
            typer.echo(json.dumps(told))
        elif sys.stderr.isatty() and not final:
            typer.echo(f"\r\x1b[K{_line(told)}", nl=False, err=True)
        else:
            typer.echo(("\r\x1b[K" if sys.stderr.isatty() else "") + _line(told), err=True)

    def _mark(self) -> _Mark:
        tally = self._fleet.tally()
        counts = {name: getattr(tally, field) for name, field in _COUNTS.items()}
        return _Mark(time.monotonic(), time.process_time(), counts, tally.latency.copy())

    def _told(self, mark: _Mark, final: bool) -> dict[str, Any]:
        tally, before = self._fleet.tally(), self._before
        seconds = max(mark.at - before.at, 1e-9)
        rates = {f"{name}_per_s": round((mark.counts[name] - before.counts[name]) / seconds, 1) for name in _RATES}
        return {
            "final": final,
            "elapsed_s": round(mark.at - self._first.at, 1),
            **self._about,
            **mark.counts,
            **rates,
            "ack_ms": {"window": _quantiles(mark.latency.since(before.latency)), "overall": _quantiles(mark.latency)},
            "cpu_s": _cpu(mark.cpu, tally),
            "cores": round((mark.cpu - before.cpu) / seconds, 3),
            "rss_mb": _rss_mb(),
            "trouble": tally.trouble or None,
        }


_COUNTS = {
    "made": "made", "committed": "reports", "samples": "samples", "values": "values", "events": "events",
    "duplicates": "duplicates", "waiting": "waiting", "dropped": "dropped", "retries": "retries",
    "unavailable": "unavailable", "enrolled": "enrolled", "body_bytes": "body_bytes",
}  # fmt: skip
_RATES = ("committed", "samples", "values")


def _quantiles(latency: "Latency") -> dict[str, float | None]:
    found = {f"p{share}": latency.quantile(share / 100) for share in (50, 99)}
    return {name: None if ms is None else round(ms, 1) for name, ms in found.items()}


def _cpu(total: float, tally: "Tally") -> dict[str, float]:
    return {
        "making": round(tally.making, 3),
        "rest": round(max(total - tally.making, 0.0), 3),
        "total": round(total, 3),
    }


def _rss_mb() -> float:
    """Memory in use, MB; where the system does not tell, the most there was."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(most / 1e6 if sys.platform == "darwin" else most / 1e3, 1)
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _line(told: dict[str, Any]) -> str:
    from gpufleet_server.cli.units import duration, number

    p99 = told["ack_ms"]["window"]["p99"]
    parts = [
        f"{duration(told['elapsed_s'])}: {number(told['committed'])} reports committed",
        f"{number(told['samples'])} samples ({number(round(told['samples_per_s']))}/s)",
        f"{number(told['events'])} events",
        f"{number(told['waiting'])} wait",
        f"{number(told['dropped'])} dropped",
        f"p99 {p99:.0f} ms" if p99 is not None else "no answer",
        f"{told['cores']:.2f} cores, {told['rss_mb']:.0f} MB",
    ]
    return ", ".join(parts) + (f"; {told['trouble'][:100]}" if told["trouble"] else "")
