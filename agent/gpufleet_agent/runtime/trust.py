"""Which certificates an https server is believed by, and which one is shown to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpufleet_agent.config import Config, ConfigError

if TYPE_CHECKING:
    import ssl


class BadCertificate(OSError):
    """A file of certificates that cannot be used; the text names it."""


@dataclass(frozen=True)
class Trust:
    """Files of certificates, PEM. Without any, the system's are believed and none is shown."""

    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What a connection needs. The files are read anew each time, since they are renewed. BadCertificate."""
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise BadCertificate(f"ca_file = {self.ca_file}: {_told(error)}") from None
        if self.client_cert is None:
            return context
        try:
            context.load_cert_chain(self.client_cert, self.client_key, password=_no_passphrase)
        except (OSError, ValueError) as error:
            key = f", client_key = {self.client_key}" if self.client_key else ""
            raise BadCertificate(f"client_cert = {self.client_cert}{key}: {_told(error)}") from None
        return context


def trust_of(config: Config) -> Trust:
    """What the settings say. ConfigError where files that are needed cannot be used now."""
    trust = Trust(config.ca_file, config.client_cert, config.client_key)
    if trust != Trust() and (config.server or "").startswith("https:"):
        try:
            trust.context()
        except BadCertificate as error:
            raise ConfigError(str(error)) from None
    return trust


def _told(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which nobody is there to type")
