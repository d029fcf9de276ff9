"""The way through a proxy: which one, and that everything arrives."""

import base64
import ssl
from collections.abc import Iterator

import pytest
from gpufleet_agent.config import ConfigError
from gpufleet_agent.runtime.proxy import Proxy, proxy_for
from gpufleet_agent.runtime.push import Link, Unreachable
from gpufleet_agent.runtime.trust import Trust

from tests.agent.forward_proxy import ForwardProxy, proxying
from tests.agent.ingest_end import TOKEN, IngestEnd, serving
from tests.agent.runtime.test_trust import CERTIFICATE

BASIC = "Basic " + base64.b64encode(b"me:p@ss word").decode()


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    """A proxy that wants a password."""
    with proxying(ForwardProxy(BASIC)) as it:
        yield it


def through(proxy: ForwardProxy, server: str, user: str = "me:p%40ss%20word@") -> Link:
    """A link to this server through the proxy, as the settings make it."""
    return Link(server, Trust(CERTIFICATE), proxy_for(server, f"http://{user}127.0.0.1:{proxy.port}", {}))


def test_http_goes_through_a_proxy(proxy: ForwardProxy) -> None:
    """Whole URLs, with the proxy's password; a large body and a kept connection too."""
    with serving(IngestEnd()) as end:
        link = through(proxy, end.url)
        assert link.get("/healthz").status == 200
        assert link.post("/ingest/v1/reports", bytes(1 << 20), {}).status == 401
        link.close()
    assert proxy.asked == [f"GET {end.url}/healthz", f"POST {end.url}/ingest/v1/reports"]


def test_https_goes_through_a_tunnel(proxy: ForwardProxy) -> None:
    """The proxy sees where to, and nothing else; the certificate that is checked is the server's."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE)
    with serving(IngestEnd(), tls) as end:
        url = f"https://localhost:{end.port}"
        link = through(proxy, url)
        assert [link.get("/healthz").status, link.get("/healthz").status] == [200, 200]
        link.close()
        assert proxy.asked == [f"CONNECT localhost:{end.port}"]
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            Link(url, None, proxy_for(url, f"http://me:p%40ss%20word@127.0.0.1:{proxy.port}", {})).get("/healthz")


def test_a_proxy_that_refuses_is_named(proxy: ForwardProxy) -> None:
    """Its words, and which one it is; never the password."""
    with pytest.raises(Unreachable, match=rf"407 Proxy .*; through the proxy 127\.0\.0\.1:{proxy.port}"):
        through(proxy, "https://localhost:1", "me:wrong@").get("/")
    with pytest.raises(Unreachable, match=r"ConnectionRefusedError.*; through the proxy 127\.0\.0\.1:9"):
        Link("http://localhost:1", proxy=Proxy("127.0.0.1", 9)).get("/")
    assert TOKEN not in repr(Proxy("h", 1, {"Proxy-Authorization": TOKEN}))


ENVIRONMENT = {
    "HTTPS_PROXY": "http://secure:1",
    "https_proxy": "lower:2",
    "http_proxy": "http://plain",
    "NO_PROXY": "localhost, .corp.example,10.0.0.0/8,fleet.example:8443,fd00::/8",
}


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("https://fleet.example", "lower:2"),
        ("http://fleet.example", "plain:80"),
        ("https://fleet.example:8443", None),
        ("https://a.corp.example", None),
        ("https://corp.example", None),
        ("https://notcorp.example", "lower:2"),
        ("http://localhost:8478", None),
        ("https://10.1.2.3", None),
        ("https://11.1.2.3", "lower:2"),
        ("https://[fd00::7]", None),
    ],
)
def test_the_usual_variables_are_heeded(server: str, found: str | None) -> None:
    """The scheme's own, in either case; none for what NO_PROXY holds by name, domain, port, address or network."""
    proxy = proxy_for(server, None, ENVIRONMENT)
    assert (str(proxy) if proxy else None) == found


def test_the_setting_comes_before_the_environment() -> None:
    """Also before NO_PROXY; `none` is none."""
    assert str(proxy_for("https://localhost", "http://own:3", ENVIRONMENT)) == "own:3"
    assert proxy_for("https://fleet.example", "none", ENVIRONMENT) is None
    assert str(proxy_for("https://x", None, {"ALL_PROXY": "http://all:4"})) == "all:4"
    assert proxy_for("https://x", None, {"ALL_PROXY": "http://all:4", "no_proxy": "*"}) is None
    assert proxy_for("https://x", None, {"HTTPS_PROXY": ""}) is None


def test_a_proxy_of_another_kind_is_named() -> None:
    """The variable is named, its value is not: it may hold a password."""
    with pytest.raises(ConfigError, match=r"HTTPS_PROXY = \(not shown\): expected a URL such as http://"):
        proxy_for("https://x", None, {"HTTPS_PROXY": "socks5://me:pass@x:1"})
