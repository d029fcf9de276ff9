"""The same hours of 1,000, 10,000 and 100,000 GPUs, one after the other: what each GPU costs as the fleet grows.

Every report comes over HTTP and ends sealed and rolled up, as in `tests.bench.ingest`, of which this is the part that
concerns gpufleet, at a longer interval so that the largest fleet is done within minutes.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.fleet_load import fleet_load
from tests.bench.ingest import Result, run_gpufleet

SHOWN = ("cpu_us_per_value", "feed_cpu_us_per_value", "bytes_per_value", "peak_rss_mb", "seconds")


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--interval", type=int, default=60, help="seconds between samples")
    parser.add_argument("--in-flight", type=int, default=64, help="requests on their way at once")
    args = parser.parse_args()
    args.profile = None
    results: dict[int, Result] = {}
    per_gpu: dict[int, dict[str, float]] = {}
    for gpus in args.gpus:
        load = fleet_load(gpus, args.hours, args.interval, time.time())
        counts = load.counts()
        with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as folder:
            Path(folder).chmod(0o755)
            results[gpus] = run_gpufleet(args, Path(folder) / "gpufleet", load, counts)
        values = sum(counts.values()) / load.gpus
        per_gpu[gpus] = {
            "cpu_ms_per_gpu_hour": round(results[gpus].cpu_us_per_value * values / args.hours / 1000, 3),
            "bytes_per_gpu_hour": round(results[gpus].bytes_per_value * values / args.hours),
        }
    show(results, per_gpu)
    by_gpus = {
        str(gpus): {name: getattr(each, name) for name in SHOWN} | per_gpu[gpus] for gpus, each in results.items()
    }
    print(json.dumps({"bench": "growth", "interval_s": args.interval, "hours": args.hours} | by_gpus))


def show(results: dict[int, Result], per_gpu: dict[int, dict[str, float]]) -> None:
    """The table for people."""
    table = Table("GPUs", *(f"{gpus:,}" for gpus in results))
    for name in SHOWN:
        table.add_row(name.replace("_", " "), *(f"{getattr(each, name):,}" for each in results.values()))
    for name in next(iter(per_gpu.values())):
        table.add_row(name.replace("_", " "), *(f"{each[name]:,}" for each in per_gpu.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
