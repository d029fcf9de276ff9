"""The node's credential: kept in the state folder, got from the server for a join token."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gpufleet_agent import __version__
from gpufleet_agent.runtime.files import write_whole
from gpufleet_agent.runtime.push import Answer, Link
from gpufleet_agent.settings import is_bearer
from gpufleet_agent.wire import ENROL_PATH, PROTOCOL, Credential, Enrolment


class Enroller:
    """Holds the credential of one node. `trouble`: why one that was kept cannot be used; empty where there is none."""

    def __init__(self, state: Path, node: str, hostname: str, token: str | None) -> None:
        self._path = state / "credential.json"
        self._node, self._hostname, self._token = node, hostname, token
        self.credential: str | None = None
        self.trouble = ""
        try:
            self.credential = _load(self._path, node)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.trouble = f"{self._path}: {error.strerror if isinstance(error, OSError) else error}"

    @property
    def can_ask(self) -> bool:
        """Whether there is a join token."""
        return self._token is not None

    def ask(self, link: Link) -> Answer:
        """Ask the server for a credential; it is here once the answer is a success. Unreachable as it comes.

        Raises OSError where the credential cannot be kept on disk: it serves until the agent ends.
        """
        enrolment = Enrolment(node=self._node, version=PROTOCOL, hostname=self._hostname, agent_version=__version__)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        answer = link.post(ENROL_PATH, msgspec.json.encode(enrolment), headers)
        if answer.status in (200, 201):
            try:
                granted = msgspec.json.decode(answer.body, type=Credential)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                granted = None
            if granted is None or not is_bearer(granted.credential):
                return Answer(502, answer.content_type, None, b"the answer to the enrolment is no credential")
            self.credential = granted.credential
            write_whole(self._path, msgspec.json.encode(granted), mode=0o600)
        return answer

    def forget(self) -> None:
        """The server does not take the credential any more."""
        self.credential = None


def _load(path: Path, node: str) -> str:
    """The credential that is kept. OSError or ValueError where it cannot be used."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Credential)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        raise ValueError("the file is damaged") from None
    if kept.node != node:
        raise ValueError("the credential is another node's: was this disk copied, or the machine-id changed?")
    if not is_bearer(kept.credential):
        raise ValueError("the file is damaged")
    return kept.credential
