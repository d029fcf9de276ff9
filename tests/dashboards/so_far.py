"""A length of time that goes on while it is asked for."""

import math


class SoFar(float):
    """Seconds as of just before a panel asked: what it shows is that, or a little more."""

    def fits(self, told: float) -> bool:
        """Whether a panel that asked a moment later may have told this."""
        return math.isclose(told, self, rel_tol=1e-9, abs_tol=1e-3) or self < told < self + 60
