"""GPUs by version and power limit, held against a count in Python."""

import random
import struct
from collections import defaultdict
from typing import Any

import pytest
from gpufleet_agent.catalogue import Reason
from gpufleet_server.store.engine import Store
from gpufleet_server.store.gpu_counts import COUNTS, POWER_LIMIT, count_gpus, gpu_counts
from gpufleet_server.store.latest_states import latest_states
from gpufleet_server.store.schema import gpus
from sqlalchemy import insert, select, update

from tests.server.fleet import NOW, SECOND, Fleet

_ABSENT = POWER_LIMIT.absent(Reason.FAILED)
_VALUES = [name for columns in COUNTS.values() for name in columns]
_FIRMWARE = ("board_part_number", "inforom_image_version", "gsp_firmware_version")
# A count's word, site, model, simulated and what it is by; how many GPUs, and nodes.
_Counts = dict[tuple[Any, ...], tuple[int, int]]


def _limits(store: Store, node_id: int, *limits: int) -> None:
    """What is in force in each of the node's slots, and since when."""
    packed = b"".join(struct.pack("<qq", limit, NOW + slot) for slot, limit in enumerate(limits))
    with store.writing() as connection:
        connection.execute(insert(latest_states).values(node_id=node_id, power_limit=packed))


def _counts(store: Store) -> _Counts:
    with store.reading() as connection:
        rows = connection.execute(select(gpu_counts)).mappings().all()
    for row in rows:
        assert {name for name in _VALUES if row[name] is not None} <= set(COUNTS[row["what"]])
    return {
        (row["what"], row["site"], row["model"], row["simulated"], *(row[name] for name in COUNTS[row["what"]])): (
            row["gpus"], row["nodes"],
        )
        for row in rows
    }  # fmt: skip


def _fill(store: Store, fleet: Fleet, chance: random.Random) -> _Counts:
    """Nodes of all kinds; what there is to be counted of them."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number in range(25):
        versions = {"driver_version": chance.choice([None, "570", "580"]), "cuda_version": chance.choice([None, "13"])}
        site, simulated = chance.choice([None, "Oslo", "Rome"]), chance.random() < 0.3
        node_id = fleet.node(f"n{number}", site=site, simulated=simulated, **versions)
        limits = [chance.choice([_ABSENT, 0, 7000, 4005]) for _ in range(chance.randrange(5))]
        if chance.random() < 0.8:
            _limits(store, node_id, *limits)
        else:
            limits = []
        for slot in range(4):
            of_gpu = {
                "model": chance.choice([None, "H100", "A100"]), "vbios_version": chance.choice([None, "96", "97"]),
                "board_part_number": chance.choice([None, "900"]), "gsp_firmware_version": chance.choice([None, "580"]),
                "inforom_image_version": chance.choice([None, "G5"]),
            }  # fmt: skip
            removed = NOW if chance.random() < 0.2 else None
            fleet.gpu(node_id, f"GPU-{number}-{slot}", lost=chance.random() < 0.2, removed_at=removed, **of_gpu)
            limit = limits[slot] if slot < len(limits) and limits[slot] != _ABSENT else None
            told = [
                ("driver", versions["driver_version"] or "", versions["cuda_version"] or ""),
                ("vbios", of_gpu["vbios_version"] or ""),
                ("firmware", *(of_gpu[name] or "" for name in _FIRMWARE)),
                ("power_limit", limit),
            ]  # fmt: skip
            for what, *values in told if removed is None else []:
                found[what, site or "", of_gpu["model"] or "", simulated, *values].append(node_id)
    return {key: (len(ids), len(set(ids))) for key, ids in found.items()}


@pytest.mark.parametrize("seed", range(3))
def test_each_count_is_as_counted_by_hand(store: Store, fleet: Fleet, seed: int) -> None:
    """Of GPUs that nodes have, lost ones too; what nobody told is counted apart, and an absent limit is no 0."""
    told = _fill(store, fleet, random.Random(seed))
    assert count_gpus(store, NOW) == len(told)
    assert _counts(store) == told
    assert {key[0] for key in told} == set(COUNTS)


def test_a_count_takes_the_place_of_the_last(store: Store, fleet: Fleet) -> None:
    """What is no longer so is gone from it, and all of its rows are of one time; an older one changes nothing."""
    node_id = fleet.node("alpha", driver_version="570")
    for number in range(2):
        fleet.gpu(node_id, f"GPU-{number}", model="H100", vbios_version="96")
    count_gpus(store, NOW)
    with store.writing() as connection:
        connection.execute(update(gpus).where(gpus.c.uuid == "GPU-1").values(vbios_version="97"))
    count_gpus(store, NOW + 60 * SECOND)
    assert count_gpus(store, NOW) == 0
    assert {key[4]: value for key, value in _counts(store).items() if key[0] == "vbios"} == {"96": (1, 1), "97": (1, 1)}
    with store.reading() as connection:
        assert set(connection.execute(select(gpu_counts.c.at)).scalars()) == {NOW + 60 * SECOND}


def test_nothing_is_counted_of_no_gpus(store: Store, fleet: Fleet) -> None:
    """The last GPU that went is in no count either."""
    fleet.gpu(fleet.node("alpha"), "GPU-1")
    assert count_gpus(store, NOW) == len(COUNTS)
    with store.writing() as connection:
        connection.execute(update(gpus).values(removed_at=NOW))
    assert count_gpus(store, NOW + SECOND) == 0
    assert _counts(store) == {}
