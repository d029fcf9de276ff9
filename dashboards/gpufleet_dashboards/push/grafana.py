"""A Grafana, asked through grafana-client: each method is one request, and raises PushError where it fails."""

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException, GrafanaTimeoutError
from niquests.exceptions import RequestException, SSLError, TooManyRedirects

from gpufleet_dashboards.push.access import Access
from gpufleet_dashboards.push.failure import NoAnswer, PushError, Refused, refusal

Json = dict[str, Any]
Answer = TypeVar("Answer", dict[str, Any], list[Any])

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_HISTORY = 50
_RESULTS = 5000
_CAUSES = {
    "Connection refused": "nothing listens there; is Grafana running, and is the port right?",
    "Failed to resolve": "no such host",
    "Name or service not known": "no such host",
    "timed out": "it does not answer; is there a firewall in between?",
    "unreachable": "there is no way to it from here",
}


class Grafana:
    """One Grafana. Where it has no such thing, what reads one gives None."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._api = GrafanaApi(
            access.credential,
            host=f"[{access.host}]" if ":" in access.host else access.host,
            port=access.port,
            url_path_prefix=access.path.lstrip("/"),
            protocol=access.scheme,
            verify=str(access.ca_file) if access.ca_file else True,
            timeout=access.timeout,
            user_agent="gpufleet",
        )
        # A redirect would make a POST a GET, and send the token wherever it leads.
        self._api.client.s.max_redirects = 0

    def __enter__(self) -> "Grafana":
        return self

    def __exit__(self, *_: object) -> None:
        self._api.client.s.close()

    def health(self) -> Json:
        """What it tells to anybody; PushError where what answers is no Grafana."""
        try:
            answer = self._ask("reach Grafana", dict, self._api.client.GET, "/health")
        except Refused as error:
            if error.code != 404:
                raise
            raise PushError(f"no Grafana at {self.access.url}: it has no /api/health. {_UNDER}") from error
        if "database" not in answer:
            raise PushError(f"no Grafana at {self.access.url}: its /api/health is another's. {_UNDER}")
        return answer

    def version(self) -> str:
        """Its version, as it tells to those whom it knows."""
        answer = self._ask("ask for Grafana's version", dict, self._api.health.check)
        return str(answer.get("version", ""))

    def permissions(self) -> Mapping[str, Sequence[str]]:
        """What the token may do: action → scopes."""
        doing = "ask for the token's rights"
        return self._ask(doing, dict, self._api.client.GET, "/access-control/user/permissions")

    def folder(self, uid: str) -> Json | None:
        """A folder; None also for what can be no uid."""
        if not _UID.fullmatch(uid):
            return None
        return self._found(f"read the folder {uid}", self._api.folder.get_folder, uid)

    def folders(self) -> list[Json]:
        """The folders at the top."""
        return self._ask("list the folders", list, self._api.folder.get_all_folders)

    def create_folder(self, title: str, uid: str) -> None:
        """Make a folder at the top."""
        self._ask(f"make the folder {title}", dict, self._api.folder.create_folder, title, uid)

    def datasource(self, uid: str) -> Json | None:
        """A data source; its secrets are told of by name alone."""
        return self._found(f"read the data source {uid}", self._api.datasource.get_datasource_by_uid, uid)

    def create_datasource(self, wanted: Json) -> None:
        """Make a data source."""
        self._ask(f"make the data source {wanted['uid']}", dict, self._api.datasource.create_datasource, wanted)

    def update_datasource(self, wanted: Json) -> None:
        """Change a data source; Refused (409) where it is no longer of the version that `wanted` names."""
        doing = f"change the data source {wanted['uid']}"
        self._ask(doing, dict, self._api.datasource.update_datasource_by_uid, wanted["uid"], wanted)

    def board(self, uid: str) -> Json | None:
        """A board, `dashboard`, and what Grafana knows of it, `meta`."""
        return self._found(f"read the board {uid}", self._api.dashboard.get_dashboard, uid)

    def versions(self, uid: str) -> list[Json]:
        """A board's last versions, newest first; empty where the token may not see them."""
        # grafana-client's own method sends the limit as the body of a GET, where Grafana does not look for it.
        path, params = f"/dashboards/uid/{quote(uid)}/versions", {"limit": _HISTORY}
        try:
            answer = self._ask_any(f"read the versions of the board {uid}", self._api.client.GET, path, params=params)
        except Refused as error:
            if error.code in {403, 404}:
                return []
            raise
        found = answer.get("versions", []) if isinstance(answer, dict) else answer
        return sorted(found, key=lambda each: -int(each.get("version", 0)))

    def boards_in(self, folder: str) -> list[Json]:
        """Uid and title, among more, of the boards of a folder."""
        params = {"type": "dash-db", "folderUIDs": folder, "limit": _RESULTS}
        return self._ask(
            f"list the boards of the folder {folder}", list, self._api.client.GET, "/search", params=params
        )

    def save_board(self, body: Json) -> None:
        """Save a board; Refused (412) where it is no longer of the version that the body names."""
        title = body["dashboard"]["title"]
        self._ask(f"save the board {title}", dict, self._api.dashboard.update_dashboard, body)

    def rules(self) -> list[Json]:
        """All alert rules that the token may see."""
        return self._ask("list the alert rules", list, self._api.alertingprovisioning.get_alertrules_all)

    def rule_group(self, folder: str, name: str) -> Json | None:
        """A group of alert rules."""
        doing = f"read the alert rules {name}"
        return self._found(doing, self._api.alertingprovisioning.get_rule_group, folder, quote(name))

    def put_rule_group(self, group: Json) -> None:
        """Replace a group of alert rules, which people may then edit in Grafana."""
        call = self._api.alertingprovisioning.update_rule_group
        name, folder = group["title"], group["folderUid"]
        self._ask(f"write the alert rules {name}", dict, call, folder, quote(name), group, disable_provenance=True)

    def _found(self, doing: str, call: Callable[..., Any], *args: Any) -> Json | None:
        try:
            return self._ask(doing, dict, call, *args)
        except Refused as error:
            if error.code == 404:
                return None
            raise

    def _ask(self, doing: str, kind: type[Answer], call: Callable[..., Any], *args: Any, **more: Any) -> Answer:
        answer = self._ask_any(doing, call, *args, **more)
        if not isinstance(answer, kind):
            raise PushError(f"can't {doing}: what answers at {self.access.url} is no Grafana but a web page. {_UNDER}")
        return answer

    def _ask_any(self, doing: str, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        try:
            return call(*args, **more)
        except GrafanaTimeoutError as error:
            wait = f"{self.access.timeout:g} s"
            raise NoAnswer(f"can't {doing}: no answer within {wait}; see --timeout", late=True) from error
        except GrafanaException as error:
            raise self._clean(refusal(doing, error.status_code, error.response)) from error
        except TooManyRedirects as error:
            raise PushError(f"can't {doing}: {self._elsewhere(error)}") from error
        except (RequestException, UnicodeError) as error:
            raise NoAnswer(self._hide(f"can't {doing}: {self._cut(error)}")) from error

    def _elsewhere(self, error: TooManyRedirects) -> str:
        headers = error.response.headers if error.response is not None else {}
        target = urljoin(f"{self.access.url}/", str(headers.get("Location", "")))
        if "login" in target:
            return f"{self.access.url} sends on to {target}: a login stands before Grafana that takes no tokens"
        return f"{self.access.url} sends on to {target.partition('/api/')[0]}: give that as --url"

    def _cut(self, error: Exception) -> str:
        text = str(error)
        if isinstance(error, SSLError):
            return _tls(text, self.access)
        cause = next((told for mark, told in _CAUSES.items() if mark in text), None)
        if cause is None:
            return f"the connection to {self.access.url} was cut"
        return f"no connection to {self.access.url}: {cause}"

    def _clean(self, error: PushError) -> PushError:
        error.args = (self._hide(str(error)),)
        return error

    def _hide(self, text: str) -> str:
        """Without the secret, whoever put it there."""
        credential = self.access.credential
        return text.replace(credential if isinstance(credential, str) else credential[1], "…")


_UNDER = "If Grafana is under a path there, the URL needs it, as in https://host/grafana"


def _tls(text: str, access: Access) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text.lower():
        found = re.search(r"certificate verify failed: ([^(]+)", text)
        reason = found[1].strip() if found else "it is not trusted"
        return f"the certificate of {access.url} is no good: {reason}; give its authority's with --ca-file"
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text.lower():
        return f"{access.url} does not speak TLS: is it http:// there?"
    return f"no TLS with {access.url}, by {ssl.OPENSSL_VERSION}: {text[:200]}"
