"""How long to wait after tries that failed."""

import random

_LONGEST = 900.0


def backoff(failures: int, longest: float = _LONGEST, *, chance: float | None = None) -> float:
    """Seconds until the next try after so many failures in a row: twice as long each time, less a chance's half.

    `chance`, 0 to 1, keeps those that failed together from coming again together.
    """
    full: float = min(longest, 2.0 ** min(failures - 1, 30))
    return full * (1 - (random.random() if chance is None else chance) / 2)  # noqa: S311
