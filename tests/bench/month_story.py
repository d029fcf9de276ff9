"""What may happen in the simulated month: a kind of happening has a rate, where that comes from, and a story."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any

from gpufleet_agent.wire import Holder
from gpufleet_server.simulate.plan import SimNode

# A value in the metric's unit, or the word of the Reason for which it is absent.
Value = float | str


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


MINUTE, HOUR = 60.0, 3600.0
# When a node that changes tells of it and all is looked at, s after the change: at once, and at the next round.
SOON = (0.0, 15.0)
# What rules wait for five or ten minutes for, some of which have their turn once a minute; silence; what is sent on
# change.
ONCE, FIVE, TEN = (0.0,), (15.0, 75.0, 330.0, 390.0), (15.0, 75.0, 630.0, 690.0)
SILENCE, CHANGE = (45.0, 75.0, 105.0), (15.0, 90.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is so from `after` s on of the happening's GPU or, with `all_gpus`, of all of its node.

    `metrics` take the place of what physics says; with `well` all that was put in their place is gone again. `xid` and
    `event` (kind and message) happen. `looks`: s after the turn at which the node reports and rules are evaluated.
    `window`: s for which somebody has said that work is done on the node. `booted`: it comes up after a reboot.
    """

    after: float = 0.0
    all_gpus: bool = False
    metrics: Mapping[str, Value] = field(default_factory=_nothing)
    identity: Mapping[str, Any] = field(default_factory=_nothing)
    facts: Mapping[str, Any] = field(default_factory=_nothing)
    xid: int | None = None
    event: tuple[str, str] | None = None
    sxid: tuple[int, bool] | None = None
    lost: bool | None = None
    there: bool | None = None
    replaced: bool = False
    driver: str | None = None
    detail: str = ""
    sends: bool | None = None
    clock: float | None = None
    backlog: int | None = None
    holder: Holder | None = None
    well: bool = False
    booted: bool = False
    window: float | None = None
    looks: tuple[float, ...] = SOON


Story = Callable[[Random], Iterable[Turn]]
Fits = Callable[[SimNode], bool]


def anywhere(_: SimNode) -> bool:
    """Any node."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of happening, `a_month` on 10,000 GPUs, and the source of that number.

    `finds`: the rules of which one has to fire within so many s, on its GPU (`of_gpu`), node, rack or site; none: it is
    harmless, and nobody is to be told of it. `besides`: what may fire with it. `whole`: it strikes all nodes of a
    rack, or of a site, or of the fleet.
    """

    name: str
    a_month: float
    source: str
    story: Story
    finds: tuple[str, ...] = ()
    within: float = 3 * MINUTE
    besides: tuple[str, ...] = ()
    of_gpu: bool = True
    fits: Fits = anywhere
    whole: str | None = None
    # The first and the last day in which it may begin; what wants a time of its own has one.
    days: tuple[float, float] = (0.2, 28.0)


def a_month_of(cases: float, gpus: int, days: float) -> float:
    """Cases on so many GPUs in so many days, as cases a month on 10,000."""
    return cases * 10_000 / gpus * 30 / days


def llama(cases: float) -> float:
    """Of the 419 unexpected interruptions of Llama 3's 54 days on 16,384 GPUs."""
    return a_month_of(cases, 16_384, 54)


def repaired(chance: Random, after: float, *, looks: tuple[float, ...] = ONCE, **more: Any) -> list[Turn]:
    """Somebody drains the node, says that work is done on it, and reboots it; hours after the fault, as it takes."""
    begin = after + chance.uniform(0.5, 6) * HOUR
    return [
        Turn(after=begin, window=30 * MINUTE, sends=False, looks=(120.0,)),
        Turn(after=begin + 8 * MINUTE, sends=True, booted=True, well=True, lost=False, there=True, looks=looks, **more),
    ]
