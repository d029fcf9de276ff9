"""The node's credential: kept in the state folder, got from the server for a join token, renewed for itself."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gpufleet_agent import __version__
from gpufleet_agent.runtime.files import write_whole
from gpufleet_agent.runtime.push import Answer, Link
from gpufleet_agent.settings import is_bearer
from gpufleet_agent.wire import ENROL_PATH, PROTOCOL, RENEW_PATH, Credential, Enrolment


class Kept(Credential, kw_only=True):
    """What lies in the state folder: the credential, and the one before it."""

    previous: str | None = None


class Enroller:
    """Holds the credential of one node. `trouble`: why one that was kept cannot be used; empty where there is none."""

    def __init__(self, state: Path, node: str, hostname: str, token: str | None) -> None:
        self._path = state / "credential.json"
        self._node, self._hostname, self._token = node, hostname, token
        self.credential: str | None = None
        # The one before: a server whose store was taken back knows no newer one.
        self._previous: str | None = None
        self.trouble = ""
        try:
            kept = _load(self._path, node)
            self.credential, self._previous = kept.credential, kept.previous
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
        answer, granted = self._post(link, ENROL_PATH, self._token)
        if granted is not None:
            self.credential, self._previous = granted.credential, None
            write_whole(self._path, msgspec.json.encode(granted), mode=0o600)
        return answer

    def renew(self, link: Link) -> Answer:
        """Ask for the next credential; it holds from a success on, and is on disk before. Unreachable as it comes.

        Raises OSError where it cannot be kept on disk: the one before goes on.
        """
        answer, granted = self._post(link, RENEW_PATH, self.credential)
        if granted is not None:
            kept = Kept(node=granted.node, credential=granted.credential, previous=self.credential)
            write_whole(self._path, msgspec.json.encode(kept), mode=0o600)
            self.credential, self._previous = kept.credential, kept.previous
        return answer

    def _post(self, link: Link, path: str, token: str | None) -> tuple[Answer, Credential | None]:
        enrolment = Enrolment(node=self._node, version=PROTOCOL, hostname=self._hostname, agent_version=__version__)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = link.post(path, msgspec.json.encode(enrolment), headers)
        if answer.status not in (200, 201):
            return answer, None
        granted = answer.as_json(Credential)
        if granted is None or granted.node != self._node or not is_bearer(granted.credential):
            return Answer(502, answer.content_type, None, b"the answer to the enrolment is no credential"), None
        return answer, granted

    def fall_back(self) -> bool:
        """Take the credential before this one again, once; whether there is one."""
        if self._previous is None:
            return False
        self.credential, self._previous = self._previous, None
        return True

    def forget(self) -> None:
        """The server does not take the credential any more."""
        self.credential = None


def _load(path: Path, node: str) -> Kept:
    """The credential that is kept. OSError or ValueError where it cannot be used."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        raise ValueError("the file is damaged") from None
    if kept.node != node:
        raise ValueError("the credential is another node's: was this disk copied, or the machine-id changed?")
    if not is_bearer(kept.credential) or not is_bearer(kept.previous or "none"):
        raise ValueError("the file is damaged")
    return kept
