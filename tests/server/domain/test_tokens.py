"""What a token looks like."""

import pytest
from gpufleet_server.domain.tokens import TokenKind, bearer, digest, kind_of, new_text


@pytest.mark.parametrize("kind", TokenKind)
def test_a_new_token_says_its_kind(kind: TokenKind) -> None:
    """The text names the kind and carries 43 characters nobody can guess."""
    text = new_text(kind)
    assert kind_of(text) is kind
    assert len(text) == len(f"gpf_{kind}_") + 43
    assert text != new_text(kind)


@pytest.mark.parametrize(
    "text", ["", "gpf_node_", "gpf_root_" + "a" * 43, "gpf_node_" + "a" * 44, "gpf_node_" + "ä" * 43]
)
def test_what_is_no_token_has_no_kind(text: str) -> None:
    """Anything of another shape is refused before the store is asked."""
    assert kind_of(text) is None


def test_only_the_hash_is_told() -> None:
    """The digest is SHA-256 in hex."""
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer x", "x"), ("bearer  x ", "x"), ("Basic x", None), ("Bearer ", None), ("x", None), (None, None)],
)
def test_a_bearer_token_is_read_from_its_header(header: str | None, token: str | None) -> None:
    """The scheme's case does not matter; another scheme is no token."""
    assert bearer(header) == token
