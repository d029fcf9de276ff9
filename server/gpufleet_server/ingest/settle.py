"""Tells whoever waits for an answer what came of it."""

from typing import Any, Protocol, TypeVar

Answer = TypeVar("Answer")
Given_contra = TypeVar("Given_contra", contravariant=True)


class Waiter(Protocol[Given_contra]):
    """Who waits: an asyncio.Future, or what does as much with less."""

    def done(self) -> bool:
        """Whether it is told, or nobody waits any more."""

    def set_result(self, answer: Given_contra, /) -> None:
        """The answer."""

    def set_exception(self, problem: Any, /) -> None:
        """There is none: why."""


def settle(waiter: Waiter[Answer], outcome: Answer | BaseException) -> None:
    """Give the answer, or why there is none, unless nobody waits any more."""
    if waiter.done():
        return
    if isinstance(outcome, BaseException):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
