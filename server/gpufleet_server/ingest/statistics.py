"""What the ingest has done since the server started: plain numbers, read when someone asks."""

import collections
import dataclasses

_MOST_NAMES = 100
# Commits whose time is remembered until someone has looked: many more than there are in a minute.
_MOST_COMMITS = 4096


@dataclasses.dataclass(slots=True)
class Tally:
    """What reports added to the store."""

    samples: int = 0
    values: int = 0
    states: int = 0
    events: int = 0
    usage: int = 0
    # The kinds of these events, each with the node that had it.
    happened: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    # Metrics that this server does not know, by name: how many columns and states of them came.
    unknown_metrics: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass(slots=True)
class Statistics(Tally):
    """Counters only grow, each from one thread only: those of requests from the event loop."""

    # stored, duplicate, refused (4xx) and unavailable (5xx)
    reports: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    # Those that were not taken, by the HTTP status that their agents were told.
    refused: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    enrolments: int = 0
    renewals: int = 0
    body_bytes: int = 0
    commits: int = 0
    failed_commits: int = 0
    commit_seconds: float = 0.0
    # The seconds of each commit that nobody has taken from here yet.
    commit_times: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=_MOST_COMMITS)
    )
    # Reports in those commits, and how long they waited in all, from their arrival to the end of their commit.
    committed_reports: int = 0
    waited_seconds: float = 0.0
    queued_reports: int = 0
    queued_bytes: int = 0

    def refuse(self, status: int) -> None:
        """Count a report that was not taken."""
        self.reports["refused" if status < 500 else "unavailable"] += 1
        self.refused[status] += 1

    def commit(self, seconds: float) -> None:
        """Count a commit."""
        self.commits += 1
        self.commit_seconds += seconds
        self.commit_times.append(seconds)

    def add(self, tally: Tally) -> None:
        """Count what a committed report added."""
        self.samples += tally.samples
        self.values += tally.values
        self.states += tally.states
        self.events += tally.events
        self.usage += tally.usage
        for name, count in tally.unknown_metrics.items():
            # The names are the agents' to choose: they must not grow without bound.
            known = name in self.unknown_metrics or len(self.unknown_metrics) < _MOST_NAMES
            self.unknown_metrics[name if known else "other"] += count
