"""`gpufleet-agent once`: one whole report, printed."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpufleet_agent.backends.backend import Backend
from gpufleet_agent.catalogue import BY_NAME, METRICS
from gpufleet_agent.cli import usage
from gpufleet_agent.cli.probe import Probe, probe
from gpufleet_agent.cli.readable import human, iso, size
from gpufleet_agent.config import Config
from gpufleet_agent.host import product_uuid, read_host
from gpufleet_agent.node import derive, kept_node_id
from gpufleet_agent.runtime.clock import read_clock
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import Begun, Changed, Enlisted, Happened
from gpufleet_agent.runtime.vendors import AnyVendor
from gpufleet_agent.usage.attribution import Attribution
from gpufleet_agent.usage.holder import GpuUsage
from gpufleet_agent.wire import Backlog, Gpu, Partition, Report, Roster, digest, unpack


def once(config: Config, as_json: bool, timeout: float, backend: Backend | None = None, root: Path = Path("/")) -> int:
    """Print one report. 0, 1 where the driver fails, 3 where there is none."""
    found = probe(backend or AnyVendor(), timeout, attribution=Attribution(root, config.command_lines))
    report = _report(config, found, root)
    holders = _by_gpu(found.usage)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document(report, holders)), indent=2).decode() + "\n")
    else:
        _print(report, holders)
    return {"ok": 0, "absent": 3}.get(found.driver.state, 1)


def document(report: Report, holders: Mapping[str, Sequence[GpuUsage]]) -> dict[str, Any]:
    """The report as JSON has it: each metric's stored integer with value, unit and text beside it, and who holds it."""
    roster = report.roster
    stored = _stored(report)
    gpus = roster.gpus if roster else []
    samples = report.samples[-1] if report.samples else None
    return {
        "version": report.version,
        "node": report.node,
        "created": iso(report.created.wall),
        "driver": {**msgspec.to_builtins(report.driver), "since": iso(report.driver.since)},
        "host": _identity(roster.host) if roster else None,
        "sample": {
            "time": iso(unpack(samples.times, 8)[-1]),
            "duration_ms": unpack(samples.durations, 4)[-1],
        }
        if samples
        else None,
        "gpus": [
            {
                **_identity(gpu),
                "partitions": [
                    {**_identity(each), "metrics": _metrics(stored.get(each.uuid, {}))} for each in gpu.partitions
                ],
                "metrics": _metrics(stored.get(gpu.uuid, {})),
                "usage": usage.document(holders.get(gpu.uuid, ())),
            }
            for gpu in gpus
        ],
        "events": [{**msgspec.to_builtins(event), "time": iso(event.at)} for event in report.events],
    }


def _report(config: Config, found: Probe, root: Path) -> Report:
    host = read_host(config, found.facts, root)
    node = kept_node_id(config.state_dir) or derive(host, product_uuid(root))[1]
    roster = Roster(host=host, gpus=found.gpus or [])
    begun = Begun(str(uuid.uuid4()), 1, 1000, read_clock(), found.driver, digest(roster))
    draft = Draft(begun)
    for record in (Enlisted(roster, begun.roster_digest), Changed(found.states), Happened(found.events), found.tick):
        if record is not None:
            draft.add(record)
    return draft.report(node, Backlog(), read_clock())


def _by_gpu(found: Sequence[GpuUsage]) -> dict[str, list[GpuUsage]]:
    holders: dict[str, list[GpuUsage]] = {}
    for one in found:
        holders.setdefault(one.gpu, []).append(one)
    return holders


def _stored(report: Report) -> dict[str, dict[str, int]]:
    """GPU or partition → metric → stored integer, the latest of each."""
    stored: dict[str, dict[str, int]] = {}
    for state in report.states:
        stored.setdefault(state.gpu, {})[state.metric] = state.stored
    for samples in report.samples + report.partition_samples:
        for name, column in samples.columns.items():
            for gpu, value in zip(samples.gpus, unpack(column, BY_NAME[name].width)[-len(samples.gpus) :], strict=True):
                stored.setdefault(gpu, {})[name] = value
    return stored


def _metrics(stored: dict[str, int]) -> dict[str, Any]:
    return {metric.name: _value(metric.name, stored[metric.name]) for metric in METRICS if metric.name in stored}


def _value(name: str, stored: int) -> dict[str, Any]:
    metric = BY_NAME[name]
    reason = metric.reason(stored)
    shown = {"stored": stored, "value": metric.value(stored), "unit": metric.unit.symbol, "text": human(metric, stored)}
    return shown if reason is None else {**shown, "absent": reason.word}


def _identity(of: msgspec.Struct) -> dict[str, Any]:
    """Every field, the absent ones as null: what is left out on the wire is told here."""
    return {name: msgspec.to_builtins(getattr(of, name)) for name in of.__struct_fields__}


def _print(report: Report, holders: Mapping[str, Sequence[GpuUsage]]) -> None:
    roster = report.roster
    host = roster.host if roster else None
    stored = _stored(report)
    if host is not None:
        memory = size(host.memory_total) if host.memory_total else "memory unknown"
        print(f"{host.hostname}: {host.os or 'OS unknown'}, {host.cpu_model or 'CPU unknown'}, {memory}")
    if report.driver.state != "ok":
        print(f"driver {report.driver.state}: {report.driver.detail}")
    else:
        print(f"driver {(host and host.driver_version) or 'version unknown'}, {len(roster.gpus) if roster else 0} GPUs")
    for gpu in roster.gpus if roster else []:
        _print_gpu(gpu, stored.get(gpu.uuid, {}))
        for partition in gpu.partitions:
            _print_partition(partition, stored.get(partition.uuid, {}))
        for line in usage.lines(holders.get(gpu.uuid, ())):
            print(line)
    for event in report.events:
        print(f"{iso(event.at)} {event.kind} {event.code or ''} {event.gpu or ''} {event.message}")


def _print_gpu(gpu: Gpu, stored: dict[str, int]) -> None:
    print(f"\nGPU {gpu.index}  {gpu.model or 'model unknown'}  {gpu.uuid}")
    print(f"  serial {gpu.serial or 'unknown'}, PCI {gpu.pci_address or 'unknown'}, {gpu.state}")
    absent: dict[str, list[str]] = {}
    for metric in METRICS:
        if metric.name not in stored:
            continue
        reason = metric.reason(stored[metric.name])
        if reason is None:
            print(f"  {metric.name:32} {human(metric, stored[metric.name])}")
        else:
            absent.setdefault(reason.word, []).append(metric.name)
    for word, names in absent.items():
        print(f"  {word}: {', '.join(names)}")


def _print_partition(partition: Partition, stored: dict[str, int]) -> None:
    share = "" if partition.share is None else f", {100 * partition.share:.1f} % of the GPU"
    print(f"  partition {partition.uuid} {partition.profile or ''}{share}")
    for metric in METRICS:
        if metric.name in stored and metric.reason(stored[metric.name]) is None:
            print(f"    {metric.name:30} {human(metric, stored[metric.name])}")
