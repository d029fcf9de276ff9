"""Mutual TLS against a real TLS server: who shows what, and which file is at fault."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_agent.cli import main
from gpufleet_agent.config import Config
from gpufleet_agent.runtime.push import Link, Unreachable
from gpufleet_agent.runtime.trust import Trust, trust_of

from tests.agent.ingest_end import IngestEnd, serving

# Key and certificate of "localhost", for tests only; signed by itself, it is its own authority.
CERTIFICATE = Path(__file__).with_name("localhost.pem")


@pytest.fixture
def strict() -> Iterator[str]:
    """The URL of a server that lets in only who shows its certificate."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
    tls.load_cert_chain(CERTIFICATE)
    tls.verify_mode = ssl.CERT_REQUIRED
    with serving(IngestEnd(), tls) as end:
        yield f"https://localhost:{end.port}"


def parts(folder: Path) -> tuple[Path, Path]:
    """Certificate and key in files of their own."""
    key, mark, certificate = CERTIFICATE.read_text().partition("-----BEGIN CERTIFICATE-----")
    (folder / "key.pem").write_text(key)
    (folder / "cert.pem").write_text(mark + certificate)
    return folder / "cert.pem", folder / "key.pem"


def test_a_client_certificate_opens_the_door(strict: str, tmp_path: Path) -> None:
    """In one file with its key, or in two; without one there is no answer."""
    for trust in (Trust(CERTIFICATE, CERTIFICATE), Trust(CERTIFICATE, *parts(tmp_path))):
        link = Link(strict, trust)
        assert link.get("/healthz").status == 200
        link.close()
    with pytest.raises(Unreachable, match=r"(?i)certificate.required|reset|eof|alert|closed"):
        Link(strict, Trust(CERTIFICATE)).get("/healthz")


def test_a_renewed_certificate_is_taken_up(strict: str, tmp_path: Path) -> None:
    """Files are read at each connection: what was broken and is mended works without a restart."""
    mine = tmp_path / "client.pem"
    mine.write_text("no certificate")
    link = Link(strict, Trust(CERTIFICATE, mine))
    with pytest.raises(Unreachable, match=f"BadCertificate: client_cert = {mine}: "):
        link.get("/healthz")
    shutil.copy(CERTIFICATE, mine)
    assert link.get("/healthz").status == 200
    link.close()


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate without its key, and a file that holds none: exit code 2, and the file's name."""
    cert, key = parts(tmp_path)
    common = ["--server", "https://localhost:1", "--state-dir", str(tmp_path / "state"), "--token", "t"]
    assert main(["config", "check", *common, "--client-cert", str(cert)]) == 2
    assert f"gpufleet-agent: client_cert = {cert}: " in capsys.readouterr().err
    assert main(["run", *common, "--ca-file", str(key)]) == 2
    assert f"gpufleet-agent: ca_file = {key}: " in capsys.readouterr().err
    assert main(["config", "check", *common, "--client-cert", str(cert), "--client-key", str(key)]) == 0


def test_without_https_no_certificate_is_looked_at(tmp_path: Path) -> None:
    """Nothing is loaded that would not be used."""
    assert trust_of(Config(server="http://x", ca_file=tmp_path)) == Trust(tmp_path)
