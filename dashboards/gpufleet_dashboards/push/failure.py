"""Why a push fails: one sentence that says what happened and what to do."""

import re
from typing import Any

_LACKS = re.compile(r"Permissions needed: (.+?)\.?$", re.DOTALL)
_ROLE = "give its service account that permission, or the role Admin"


class PushError(Exception):
    """A push can't go on; the text says why, and what to do."""


class NoAnswer(PushError):
    """No good answer came: whether what was asked for was done is not known.

    `late`: only because it took too long, so that it may still be done.
    """

    def __init__(self, text: str, *, late: bool = False) -> None:
        super().__init__(text)
        self.late = late


class Refused(PushError):
    """Grafana answered that it won't: nothing was changed."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def said(response: Any) -> str:
    """What Grafana's answer says, in one line."""
    text = response.get("message", "") if isinstance(response, dict) else response
    return " ".join(str(text or "").split())[:300]


def refusal(doing: str, code: int, response: Any) -> PushError:
    """The error for an answer of 400 or more. `doing`: what was asked for, as in "can't …"."""
    words = said(response)
    if code >= 500:
        return NoAnswer(
            f"can't {doing}: Grafana, or what is before it, failed with {code} ({words}); see Grafana's log"
        )
    status = response.get("status") if isinstance(response, dict) else None
    return Refused(f"can't {doing}: {_why(code, words, status)}", code)


def _why(code: int, words: str, status: Any) -> str:
    if "HTTP request to an HTTPS server" in words:
        return "it speaks TLS: give the URL with https://"
    if code == 401:
        return (
            f"Grafana does not accept who you say you are ({words}); "
            "make a service account's token in Grafana (Administration, Users and access) and set GRAFANA_TOKEN to it"
        )
    if code == 403:
        needed = _LACKS.search(words)
        return f"the token lacks {needed[1]}; {_ROLE}" if needed else f"not allowed ({words}); {_ROLE}"
    if code == 409:
        return f"it clashes with what is there ({words}); look at it in Grafana, then push again"
    if code == 412:
        return _conflict(words, status)
    return f"Grafana refused it with {code}: {words}"


def _conflict(words: str, status: Any) -> str:
    if status == "version-mismatch":
        return f"somebody saved it in the meantime ({words}); push again: that shows who, and keeps it"
    if status == "name-exists":
        return f"another of that title is in the folder ({words}); rename that one, or push into another --folder"
    return f"Grafana holds something against it ({words})"
