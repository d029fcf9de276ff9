"""All samples of the fleet side by side, and sums of them by whatever they are alike in: with numpy alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED, Use
from gpufleet_server.domain.use import metrics, use
from numpy.typing import NDArray

from tests.dashboards.fleet.sent import Floats, Integers, Samples, Sent

Words = NDArray[np.str_]
Key = tuple[Any, ...]
_USES = np.array([Use(number).word for number in range(len(Use))])


@dataclass(frozen=True)
class Rows:
    """N samples; `node` is a place in the fleet, `every` holds all there are, `where` these are among them."""

    sent: Sent
    every: Samples
    nodes: Integers
    where: Integers

    @classmethod
    def of(cls, sent: Sent) -> "Rows":
        """All there are."""
        found = [each.samples() for each in sent.nodes]
        joined = {name: np.concatenate([getattr(each, name) for each in found]) for name in ("at", "gpu", "ms")}
        stored = {name: np.concatenate([each.stored[name] for each in found]) for name in found[0].stored}
        nodes = np.concatenate([np.full(len(each.at), number) for number, each in enumerate(found)])
        return cls(sent, Samples(stored=stored, **joined), nodes, np.arange(len(nodes)))

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, mask: NDArray[np.bool_]) -> "Rows":
        return replace(self, where=self.where[mask])

    @property
    def at(self) -> Integers:
        """When each ended, µs."""
        found: Integers = self.every.at[self.where]
        return found

    @property
    def seconds(self) -> Floats:
        """How long each is."""
        found: Floats = self.every.ms[self.where] / 1000.0
        return found

    @property
    def gpu(self) -> Integers:
        """The place in the node."""
        found: Integers = self.every.gpu[self.where]
        return found

    @property
    def node(self) -> Integers:
        """The node's place in the fleet."""
        found: Integers = self.nodes[self.where]
        return found

    @property
    def use(self) -> Words:
        """What each GPU was used for."""
        found: Words = _USES[use({name: self.every.stored[name][self.where] for name in metrics()})]
        return found

    def values(self, metric: str) -> Floats:
        """A metric in its unit; NaN where it is absent."""
        of, stored = BY_NAME[metric], self.every.stored[metric][self.where]
        step = of.step.numerator / of.step.denominator
        return np.where(stored >= of.lowest + RESERVED, stored * np.float64(step), np.nan)

    def named(self, name: str) -> Words:
        """`site` or `model` of each."""
        words = [getattr(each.node, name).name for each in self.sent.nodes]
        found: Words = np.array(words)[self.node]
        return found

    def chosen(self, **values: Sequence[str] | None) -> "Rows":
        """Those whose site or model is one of these (None: all)."""
        kept = np.ones(len(self), bool)
        for name, some in values.items():
            if some is not None:
                kept &= np.isin(self.named(name), list(some))
        return self[kept]


def sums(keys: Sequence[NDArray[Any]], *columns: Floats) -> Iterator[tuple[Key, list[float]]]:
    """For each combination of keys, the sum of each column; NaN adds nothing."""
    if not len(keys[0]):
        return
    codes = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        _, places = np.unique(key, return_inverse=True)
        codes = codes * (int(places.max()) + 1) + places
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    totals = [np.bincount(places, np.nan_to_num(column)) for column in columns]
    for number, row in enumerate(first.tolist()):
        yield tuple(key[row].item() for key in keys), [float(total[number]) for total in totals]
