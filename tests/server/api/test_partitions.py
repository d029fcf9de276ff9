"""Partitions through the API: newest values below their GPU, and their own history."""

from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.domain.times import iso
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store.engine import Store
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.tiers import HOUR, begin_of

from tests.server.ingest.agents import NOW, SECOND, Agent, Server, Time, run
from tests.server.ingest.test_partitions import parted, sent

# Well after an hour has begun, with all samples in it.
AT = begin_of(NOW, HOUR) + 2 * HOUR + 600 * SECOND
ABSENT = BY_NAME["sm_active"].absent(Reason.UNSUPPORTED)


async def got(server: Server, path: str, status: int = 200, **params: Any) -> Any:
    """The JSON at a path of the API."""
    headers = {"authorization": f"Bearer {server.token(TokenKind.READER)}"}
    answer = await server.client.get(f"/api/v1{path}", params=params, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def reported(server: Server) -> Agent:
    """An agent whose second GPU is cut in two: three samples, of which the last two partitions' have no activity."""
    agent = server.agent()
    roster = agent.roster()
    roster.gpus[1].partitions = [
        wire.Partition(uuid="MIG-2", gpu_instance=9, compute_instance=0, slices=3, compute_slices=3, share=3 / 7),
        wire.Partition(uuid="MIG-1", gpu_instance=2, compute_instance=0, slices=4, compute_slices=4, share=4 / 7),
    ]
    wall = agent.clock().wall
    times = [wall - n * 10 * SECOND for n in (2, 1, 0)]
    columns = {"sm_active": [5000, 100, ABSENT, ABSENT, ABSENT, ABSENT], "fb_used": [1, 2, 3, 4, 5, 6]}
    given = [parted(["MIG-1", "MIG-2"], times, **columns)]
    await sent(server, agent, roster=roster, samples=[agent.samples(times)], partition_samples=given)
    return agent


def test_newest_values_stand_below_the_gpu(store: Store) -> None:
    """By GPU instance, each value in its unit or with its reason, also when the node has been silent for long."""

    async def story(server: Server) -> None:
        await reported(server)
        for _ in range(2):
            first, second = (await got(server, "/gpus/GPU-b"))["partitions"]
            assert (first["uuid"], first["share"], first["at"]) == ("MIG-1", 4 / 7, iso(AT))
            assert (first["metrics"]["fb_used"]["value"], second["metrics"]["fb_used"]["value"]) == (5 * 1024, 6 * 1024)
            assert (first["metrics"]["sm_active"]["value"], first["metrics"]["sm_active"]["reason"]) == (
                *(None, "unsupported"),
            )
            assert "power" not in first["metrics"]
            server.time.at += 2 * HOUR
            seal_until(server.store, begin_of(AT, HOUR) + HOUR)
        assert (await got(server, "/gpus/GPU-a"))["partitions"] == []
        assert [gpu["id"] for gpu in (await got(server, "/gpus"))["items"]] == ["GPU-a", "GPU-b"]
        assert (await got(server, "/summary"))["gpus"]["total"] == 2

    run(store, story, Time(AT))


def test_their_history_is_as_a_gpus(store: Store) -> None:
    """Sample by sample and at a step, recent and sealed; and of hours of which only the rollup is left."""

    async def story(server: Server) -> None:
        await reported(server)
        path, hour = "/partitions/MIG-1/samples", begin_of(AT, HOUR)
        for _ in range(2):
            found = await got(server, path, step="raw", start=iso(hour), metrics="fb_used,sm_active,power")
            assert (found["partition"], found["gpu"]) == ("MIG-1", "GPU-b")
            assert found["metrics"]["fb_used"]["values"] == [1024, 3 * 1024, 5 * 1024]
            assert found["metrics"]["sm_active"]["values"] == [50, None, None]
            assert found["metrics"]["sm_active"]["reasons"] == [None, "unsupported", "unsupported"]
            assert found["metrics"]["power"]["reasons"] == ["unsupported"] * 3
            stepped = await got(server, path, step="10s", start=iso(AT - 20 * SECOND), end=iso(AT), metrics="sm_active")
            assert stepped["metrics"]["sm_active"] == found["metrics"]["sm_active"] | {
                "values": [None, None],
                "reasons": ["unsupported", "unsupported"],
            }
            hourly = await got(server, path, step="1h", start=iso(hour), end=iso(AT), metrics="fb_used,sm_active")
            assert [hourly["metrics"][name]["values"] for name in ("fb_used", "sm_active")] == [[3 * 1024], [50]]
            assert hourly["observed_s"] == [3]
            seal_until(server.store, hour + HOUR)
        assert set((await got(server, path))["metrics"]) >= {"gpu_utilization", "fb_used", "compute_processes"}

    run(store, story, Time(AT))


def test_a_partition_that_there_is_not(store: Store) -> None:
    """404 by name; a GPU's UUID is none."""

    async def story(server: Server) -> None:
        await reported(server)
        for name in ("MIG-9", "GPU-b"):
            problem = await got(server, f"/partitions/{name}/samples", 404)
            assert problem["detail"] == f"no partition has the UUID {name!r}"

    run(store, story, Time(AT))
