"""Writes the payload of this protocol version; run once before a release and never over an existing file."""

import sys
from pathlib import Path

from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE, Reason
from gpufleet_agent.wire import (
    PROTOCOL,
    Backlog,
    Clock,
    Driver,
    Event,
    Gpu,
    Host,
    Partition,
    Report,
    Roster,
    Samples,
    State,
    digest,
    encode,
    pack,
)

GPUS = ["GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-000000000000"]
START = 1_795_302_000_000_000


def report() -> Report:
    """A report with something in every field."""
    host = Host(hostname="gpu-17", agent_version="0.1.0", machine_id="ab" * 16, dmi_serial="SN-4711", site="fra1")
    host.labels, host.absent = {"team": "ml"}, {"room": "unsupported"}
    gpus = [Gpu(uuid=uuid, vendor="nvidia", index=n, serial=f"165{n}", model="H100") for n, uuid in enumerate(GPUS)]
    gpus[0].partitions = [Partition(uuid="MIG-1", profile="1g.10gb", gpu_instance=7, memory_total=10 << 30)]
    gpus[1].state, gpus[1].absent = "lost", {"vbios_version": "failed"}
    roster = Roster(host=host, gpus=gpus)
    columns = {}
    for place, metric in enumerate(EVERY_SAMPLE):
        stored = [100 * place, metric.absent(Reason.UNSUPPORTED), 100 * place + 1, metric.absent(Reason.LOST)]
        columns[metric.name] = pack(stored, metric.width)
    samples = Samples(
        gpus=GPUS, times=pack([START, START + 10**7], 8), durations=pack([10000, 9999], 4), columns=columns
    )
    return Report(
        version=PROTOCOL,
        node="0b6a8c1e-9a67-5d55-8d3c-6f1f2e3d4c5b",
        stream="c2f0a1de-3f70-4b8c-9f2a-5e6d7c8b9a01",
        seq=257,
        created=Clock(wall=START + 10**7 + 5, uptime=4_000_000_000, boot="7d9d3a52-0c1b-4a1e-b6a7-000000000001"),
        interval=10_000,
        driver=Driver(state="ok", since=START),
        backlog=Backlog(reports=2, bytes=4096, dropped=1),
        roster_digest=digest(roster),
        roster=roster,
        samples=[samples],
        states=[State(START, GPUS[0], metric.name, place) for place, metric in enumerate(ON_CHANGE)],
        events=[Event(at=START + 3, kind="xid", gpu=GPUS[1], code=79, source="nvml", message="fell off the bus")],
    )


if __name__ == "__main__":
    path = Path(__file__).with_name(f"protocol_{PROTOCOL}.bin")
    if path.exists():
        sys.exit(f"{path} is there already: released payloads never change")
    path.write_bytes(encode(report()))
