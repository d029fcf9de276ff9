"""Tokens in the store and in the cache."""

import time

import pytest
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenCache
from sqlalchemy import text

NOW = 1_790_000_000_000_000
MINUTE = 60_000_000


def _create(store: Store, kind: TokenKind = TokenKind.READER, expires_at: int | None = None) -> tuple[int, str]:
    with store.writing() as connection:
        return tokens.create(connection, kind, "of a test", expires_at, now=NOW)


def test_a_token_is_found_by_its_text(store: Store) -> None:
    """What was made can be looked up, and the row says what it is."""
    token_id, given = _create(store, TokenKind.ADMIN)
    with store.reading() as connection:
        row = tokens.find(connection, given, NOW)
    assert row is not None
    assert (row.id, row.kind, row.name, row.created_at) == (token_id, TokenKind.ADMIN, "of a test", NOW)


def test_the_text_is_nowhere_in_the_store(store: Store) -> None:
    """Only the hash is kept."""
    _, given = _create(store)
    with store.reading() as connection:
        assert given not in str(connection.execute(text("SELECT * FROM tokens")).all())


def test_expired_and_revoked_tokens_are_not_found(store: Store) -> None:
    """A token ends at its time, or when it is revoked, which can be done once."""
    _, short = _create(store, expires_at=NOW + MINUTE)
    token_id, revoked = _create(store)
    with store.writing() as connection:
        assert tokens.find(connection, short, NOW + MINUTE - 1) is not None
        assert tokens.find(connection, short, NOW + MINUTE) is None
        assert tokens.revoke(connection, token_id, now=NOW)
        assert not tokens.revoke(connection, token_id, now=NOW)
        assert tokens.find(connection, revoked, NOW) is None
        assert [row.revoked_at for row in tokens.listing(connection)] == [None, NOW]


@pytest.mark.parametrize("given", ["", "x", "gpf_reader_" + "a" * 43, "gpf_reader_' OR 1=1 --"])
def test_an_unknown_text_is_not_found(store: Store, given: str) -> None:
    """Neither rubbish nor a token that nobody made."""
    assert TokenCache(store).check(given) is None


def test_the_cache_answers_without_the_store(store: Store) -> None:
    """After one look-up a token is known without another select."""
    _, given = _create(store)
    cache = TokenCache(store, lambda: NOW)
    assert cache.peek(given) is None
    assert cache.check(given) == cache.peek(given) is not None


def test_the_cache_knows_when_a_token_expires(store: Store) -> None:
    """A cached token ends at its time."""
    now = [NOW]
    _, given = _create(store, expires_at=NOW + MINUTE)
    cache = TokenCache(store, lambda: now[0])
    assert cache.check(given) is not None
    now[0] = NOW + MINUTE
    assert cache.check(given) is cache.peek(given) is None


def test_a_revocation_takes_effect_within_two_seconds(store: Store) -> None:
    """Even one by another process, and whatever time it believes it is."""
    token_id, given = _create(store)
    cache = TokenCache(store, lambda: NOW)
    assert cache.check(given) is not None
    with store.writing() as connection:
        tokens.revoke(connection, token_id, now=NOW - 10**12)
    revoked = asked = time.monotonic()
    while cache.check(given) is not None:
        assert asked < revoked + 2
        time.sleep(0.05)
        asked = time.monotonic()


def test_the_last_use_is_written_at_most_once_a_minute(store: Store) -> None:
    """A flush writes what was used, unless the row is fresh enough."""
    now = [NOW]
    _, given = _create(store)
    cache = TokenCache(store, lambda: now[0])
    seen = []
    for step in (0, MINUTE - 1, 1):
        now[0] += step
        assert cache.check(given) is not None
        with store.writing() as connection:
            cache.flush(connection)
            seen.append(tokens.listing(connection)[0].last_used_at)
    assert seen == [NOW, NOW, NOW + MINUTE]


def test_credentials_are_given_to_many_at_once(store: Store) -> None:
    """Each node has one that is good: the newest, also where one lot holds a node twice."""
    cache = TokenCache(store, lambda: NOW)
    with store.writing() as connection:
        before = tokens.give_credentials(connection, [("a", "alpha"), ("b", "beta")], now=NOW)
    assert [row.node if row else None for row in cache.check_all(before)] == ["a", "b"]
    with store.writing() as connection:
        after = tokens.give_credentials(connection, [("a", "alpha"), ("c", "gamma"), ("a", "alpha")], now=NOW)
    good = [row.node if row else None for row in TokenCache(store, lambda: NOW).check_all([*before, *after])]
    assert good == [None, "b", None, "c", "a"]


def test_nobody_is_let_in_from_memory_while_revocations_are_due(store: Store) -> None:
    """However often it is asked, memory answers only once the store has been looked at again."""
    token_id, given = _create(store)
    cache = TokenCache(store, lambda: NOW)
    assert cache.check(given) is not None
    with store.writing() as connection:
        tokens.revoke(connection, token_id)
    cache._checked = cache._asked = float("-inf")
    assert [cache.peek(given), cache.peek(given), cache.check(given), cache.peek(given)] == [None] * 4
