"""TCP ports of the loopback address for servers that are started later, or again."""

import random
import socket

# Below the range from which connections get theirs: else a client may take it while no server has it.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port that nobody listens on, and that nobody else who asks here is given before this process ends."""
    for _ in range(200):
        port = random.choice(_PORTS)
        # The UDP port of the same number, which no server of ours uses, shows to other processes that it is given.
        mark = socket.socket(type=socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
        else:
            # Nobody is to close it.
            mark.detach()
            return port
    raise RuntimeError("none of 200 ports between 20000 and 32000 is free")
