"""How the fleet stood at a moment: by the last report of each node before it."""

from collections import Counter

from tests.dashboards.fleet.sent import Heard, Sent, SentNode
from tests.dashboards.truth.seen import Seen

_LEAST_MS, _MISSED = 10_000, 3


def node_state(heard: Heard, at: int) -> str:
    """The state of a node, at a time (µs), that was heard last then: silent after three reports that did not come."""
    if at - heard.at > _MISSED * max(heard.interval, _LEAST_MS) * 1000:
        return "not_reporting"
    return "reporting" if heard.driver == "ok" else "driver_failed"


def gpu_states(node: SentNode, at: int) -> list[str]:
    """The state of each GPU that the node had at a time."""
    heard = node.heard(at)
    if heard is None:
        return []
    of_node = node_state(heard, at)
    return ["lost" if gpu in heard.lost and of_node != "not_reporting" else of_node for gpu in range(heard.gpus)]


def counted(sent: Sent, at: int) -> Counter[tuple[str, str, str]]:
    """How many GPUs of a site and model were in which state."""
    found: Counter[tuple[str, str, str]] = Counter()
    for each in sent.nodes:
        place = each.node.site.name, each.node.model.name
        found.update((*place, state) for state in gpu_states(each, at))
    return found


def counts(seen: Seen, step: int = 1) -> dict[int, Counter[tuple[str, str, str]]]:
    """What was counted in the range, of what is chosen, by when that was: at full steps (µs) alone."""
    moments = [at for at in seen.world.sent.counted if at % step == 0 and seen.begin <= at < seen.end]
    return {at: of_chosen(seen, counted(seen.world.sent, at)) for at in moments}


def of_chosen(seen: Seen, found: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str, str]]:
    """Those of the sites and models that are chosen."""
    return Counter({key: count for key, count in found.items() if seen.is_chosen(*key[:2])})


def at_end(seen: Seen) -> Counter[tuple[str, str, str]]:
    """What was counted last before the end of the range."""
    return of_chosen(seen, counted(seen.world.sent, max(seen.world.sent.counted)))
