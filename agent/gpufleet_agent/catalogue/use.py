"""What a GPU was used for in a sample: the words, and the metrics and bounds that tell them."""

import enum


class Use(enum.IntEnum):
    """Active: something ran. Held: nothing ran, but a process or its memory keeps others away. Free: neither."""

    FREE = 0
    HELD = 1
    ACTIVE = 2
    UNKNOWN = 3

    @property
    def word(self) -> str:
        """The word as the API and the screen show it."""
        return self.name.lower()


# A share of the interval below this, 1 %, is what monitoring itself and the display cause.
ACTIVE_FROM = 100
# A driver without any process counts up to about this much as used; in the metric's stored integers (KiB).
IDLE_MEMORY = 1024 * 1024

# The GPU is active where any of these is ACTIVE_FROM or more; where none of them is known, that is not known, unless
# all of HOLDING say that there is nothing on it.
ACTIVITY = ("gpu_utilization", "sm_active", "encoder_utilization", "decoder_utilization")
# Above which stored integer something keeps others away from a GPU; where none of them is known, that is not either.
HOLDING = {"compute_processes": 0, "fb_used": IDLE_MEMORY}
