"""Work that many requests need at the same time, done for all of them at once."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.settle import settle

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Together(Generic[Asked, Answer]):
    """While one lot is worked on, in a thread, what is asked meanwhile gathers for the next."""

    def __init__(self, work: Callable[[Sequence[Asked]], Sequence[Answer | Problem]], most: int = 500) -> None:
        """`work` gives each that is asked its answer, or a Problem; an error is everyone's. At most `most` at once."""
        self._work, self._most = work, most
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Answer:
        """The answer to one; Problem, or what the work raised."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            lot, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._do(lot)

    async def _do(self, lot: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        working = asyncio.to_thread(self._work, [each for each, _ in lot])
        (done,) = await asyncio.gather(working, return_exceptions=True)
        outcomes = [done] * len(lot) if isinstance(done, BaseException) else done
        for (_, answer), outcome in zip(lot, outcomes, strict=True):
            settle(answer, outcome)
