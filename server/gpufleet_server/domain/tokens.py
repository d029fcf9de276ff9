"""What a token looks like. The text is shown once; only its hash is kept."""

import enum
import hashlib
import re
import secrets


class TokenKind(enum.StrEnum):
    """What a token is good for."""

    JOIN = "join"
    NODE = "node"
    READER = "reader"
    ADMIN = "admin"


_TEXT = re.compile(r"gpf_(join|node|reader|admin)_[A-Za-z0-9_-]{43}")


def new_text(kind: TokenKind) -> str:
    """A fresh token of 256 random bits: `gpf_<kind>_<43 characters>`."""
    return f"gpf_{kind}_{secrets.token_urlsafe(32)}"


def kind_of(text: str) -> TokenKind | None:
    """The kind a text claims to be, or None where it has not the shape of a token."""
    match = _TEXT.fullmatch(text)
    return TokenKind(match[1]) if match else None


def digest(text: str) -> str:
    """The SHA-256 of a token, hex: what the store keeps. A token is random enough to need no salt."""
    return hashlib.sha256(text.encode()).hexdigest()


def bearer(authorization: str | None) -> str | None:
    """The token in an Authorization header, or None."""
    scheme, _, text = (authorization or "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" and text.strip() else None
