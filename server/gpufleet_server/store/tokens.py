"""Tokens in the store, and a cache so that a report does not cost a select."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from gpufleet_server.domain import clock
from gpufleet_server.domain.tokens import TokenKind, digest, kind_of, new_text
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import tokens

_RECHECK_S = 1.0
_USE_STEP = 60 * clock.SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class TokenRow:
    """A token without its text. Times in µs; `node` is the node that a credential speaks for."""

    id: int
    kind: TokenKind
    name: str
    node: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None

    def good(self, now: int) -> bool:
        """Whether it may be used at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


_COLUMNS = (
    tokens.c.token_id,
    tokens.c.kind,
    tokens.c.name,
    tokens.c.node,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.revoked_at,
    tokens.c.last_used_at,
)


def create(
    connection: Connection,
    kind: TokenKind,
    name: str,
    expires_at: int | None = None,
    node: str | None = None,
    *,
    now: int | None = None,
) -> tuple[int, str]:
    """Make a token: its id and its text, which can't be had again."""
    text = new_text(kind)
    row = {
        "kind": kind.value,
        "name": name,
        "hash": digest(text),
        "node": node,
        "created_at": clock.now() if now is None else now,
        "expires_at": expires_at,
    }
    return connection.execute(insert(tokens).values(row).returning(tokens.c.token_id)).scalar_one(), text


def find(connection: Connection, text: str, now: int) -> TokenRow | None:
    """The token of this text, or None where there is none or it is revoked or expired."""
    if kind_of(text) is None:
        return None
    row = connection.execute(select(*_COLUMNS).where(tokens.c.hash == digest(text))).one_or_none()
    found = _token(row) if row is not None else None
    return found if found is not None and found.good(now) else None


def listing(connection: Connection) -> list[TokenRow]:
    """Every token ever made, oldest first."""
    return [_token(row) for row in connection.execute(select(*_COLUMNS).order_by(tokens.c.token_id))]


def revoke(connection: Connection, token_id: int, *, now: int | None = None) -> bool:
    """Revoke a token; False where there is none of this id that is not revoked already."""
    done = connection.execute(
        update(tokens)
        .where(tokens.c.token_id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=clock.now() if now is None else now)
    )
    return done.rowcount == 1


def give_credentials(connection: Connection, wanted: Sequence[tuple[str, str]], *, now: int) -> list[str]:
    """A new credential for each node (its id and a name for it); those that it had, one just given too, are revoked."""
    names = {node for node, _ in wanted}
    live = tokens.c.node.in_(names) & (tokens.c.kind == TokenKind.NODE.value) & tokens.c.revoked_at.is_(None)
    connection.execute(update(tokens).where(live).values(revoked_at=now))
    last = {node: place for place, (node, _) in enumerate(wanted)}
    return _add_credentials(connection, wanted, now, [last[node] == place for place, (node, _) in enumerate(wanted)])


def renew_credentials(connection: Connection, wanted: Sequence[tuple[str, str]], *, now: int) -> list[str]:
    """Another credential for each node; those that it has are good until the new one is used."""
    return _add_credentials(connection, wanted, now, [True] * len(wanted))


def _add_credentials(
    connection: Connection, wanted: Sequence[tuple[str, str]], now: int, good: Sequence[bool]
) -> list[str]:
    texts = [new_text(TokenKind.NODE) for _ in wanted]
    common = {"kind": TokenKind.NODE.value, "created_at": now}
    rows = [
        common | {"name": name, "node": node, "hash": digest(text), "revoked_at": None if is_good else now}
        for (node, name), text, is_good in zip(wanted, texts, good, strict=True)
    ]
    connection.execute(insert(tokens), rows)
    return texts


class TokenCache:
    """Looks tokens up for requests. A revocation, from whichever process, takes effect within about a second."""

    def __init__(self, store: Store, now: Callable[[], int] = clock.now) -> None:
        self._store, self._now = store, now
        self._lock = threading.Lock()
        self._known: dict[str, TokenRow] = {}
        self._revoked = 0
        self._checked = self._asked = float("-inf")
        self._used: dict[int, int] = {}
        self._noted: dict[int, int] = {}

    def check(self, text: str) -> TokenRow | None:
        """The token of this text if it may be used now. May read the store."""
        return self.check_all([text])[0]

    def check_all(self, texts: Sequence[str]) -> list[TokenRow | None]:
        """The same for many, which costs hardly more."""
        with self._lock:
            if time.monotonic() - self._checked > _RECHECK_S:
                self._asked = time.monotonic()
                self._forget_revoked()
            keys = [digest(text) for text in texts]
            self._look_up({key for key, text in zip(keys, texts, strict=True) if kind_of(text) is not None})
            return [self._take(self._known.get(key)) for key in keys]

    def peek(self, text: str) -> TokenRow | None:
        """Like `check`, but None also where it would have to read the store. From one thread only.

        While revocations are to be looked for it is None for everybody, until a `check` has begun to do that.
        """
        now = time.monotonic()
        if now - self._checked > _RECHECK_S and now - self._asked > _RECHECK_S:
            return None
        return self._take(self._known.get(digest(text)))

    def look_again(self) -> None:
        """Something was revoked here: no token is good from now on before the store was looked at."""
        with self._lock:
            self._checked = self._asked = float("-inf")

    def flush(self, connection: Connection) -> None:
        """Write when tokens were last used, for those whose row is more than a minute behind."""
        with self._lock:
            used, self._used = self._used, {}
        # A copy: `peek` may still add to it.
        rows = [{"used_id": token_id, "used_at": at} for token_id, at in list(used.items())]
        if rows:
            behind = func.coalesce(tokens.c.last_used_at, 0) <= bindparam("used_at") - _USE_STEP
            statement = update(tokens).where(tokens.c.token_id == bindparam("used_id"), behind)
            connection.execute(statement.values(last_used_at=bindparam("used_at")), rows)

    def _take(self, row: TokenRow | None) -> TokenRow | None:
        now = self._now()
        if row is None or not row.good(now):
            return None
        if now - self._noted.get(row.id, row.last_used_at or 0) >= _USE_STEP:
            self._used[row.id] = self._noted[row.id] = now
        return row

    def _look_up(self, keys: set[str]) -> None:
        missing = keys - self._known.keys()
        if missing:
            with self._store.reading() as connection:
                found = connection.execute(select(tokens.c.hash, *_COLUMNS).where(tokens.c.hash.in_(missing))).all()
            rows = {row.hash: token for row in found if (token := _token(row[1:])).good(self._now())}
            self._end_older([row for row in rows.values() if row.node is not None and row.last_used_at is None])
            self._known |= rows

    def _end_older(self, fresh: Sequence[TokenRow]) -> None:
        """Revoke the credentials of a node that are older than one which is used for the first time."""
        newest = {row.node: row.id for row in sorted(fresh, key=lambda row: row.id)}
        live = tokens.c.node.in_(newest) & (tokens.c.kind == TokenKind.NODE.value) & tokens.c.revoked_at.is_(None)
        if not newest:
            return
        with self._store.reading() as connection:
            found = connection.execute(select(tokens.c.token_id, tokens.c.node).where(live)).all()
        if older := [token_id for token_id, node in found if token_id < newest[node]]:
            with self._store.writing() as connection:
                ended = update(tokens).where(tokens.c.token_id.in_(older), live)
                connection.execute(ended.values(revoked_at=self._now()))
            self._known = {key: row for key, row in self._known.items() if row.id not in older}

    def _forget_revoked(self) -> None:
        # A count needs no clock: whoever revoked, with whatever idea of the time, it has grown.
        with self._store.reading() as connection:
            revoked = connection.execute(select(func.count(tokens.c.revoked_at))).scalar_one()
            if revoked != self._revoked:
                gone = set(
                    connection.execute(select(tokens.c.token_id).where(tokens.c.revoked_at.is_not(None))).scalars()
                )
                self._known = {key: row for key, row in self._known.items() if row.id not in gone}
        self._revoked, self._checked = revoked, time.monotonic()


def _token(row: Sequence[Any]) -> TokenRow:
    token_id, kind, name, node, created_at, expires_at, revoked_at, last_used_at = row
    return TokenRow(token_id, TokenKind(kind), name, node, created_at, expires_at, revoked_at, last_used_at)
