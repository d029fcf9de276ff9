"""What a server is called where several work on one store."""

import os
import platform


def server_host() -> str:
    """Where it runs."""
    return platform.node() or "server"


def server_name() -> str:
    """Its host, and its process, since several may run on one."""
    return f"{server_host()}:{os.getpid()}"
