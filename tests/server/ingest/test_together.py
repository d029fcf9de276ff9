"""Work done for many requests at once."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.together import Together


def test_what_is_asked_meanwhile_is_done_together() -> None:
    """The first is not kept waiting; all that come while it is worked on are one lot."""
    lots: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(asked: Sequence[int]) -> list[int]:
        lots.append(list(asked))
        begun.set()
        assert go_on.wait(60)
        return [-each for each in asked]

    async def main() -> list[int]:
        together = Together(work, most=10)
        first = asyncio.create_task(together(0))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(together(number)) for number in range(1, 16)]
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(main()) == [-number for number in range(16)]
    assert lots == [[0], list(range(1, 11)), list(range(11, 16))]


def test_each_hears_its_own_problem_and_all_hear_an_error() -> None:
    """A Problem is one's own; what the work raises is everyone's; and the next lot is worked on all the same."""

    def work(asked: Sequence[int]) -> list[int | Problem]:
        if 13 in asked:
            raise ZeroDivisionError
        return [each if each % 2 else Problem(422, "even") for each in asked]

    async def main() -> None:
        together = Together[int, int](work)
        one, two = await asyncio.gather(together(1), together(2), return_exceptions=True)
        assert (one, type(two)) == (1, Problem)
        with pytest.raises(ZeroDivisionError):
            await together(13)
        assert await together(3) == 3

    asyncio.run(main())
