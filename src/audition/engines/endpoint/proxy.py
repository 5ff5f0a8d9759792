"""Which proxy the environment names for a server, if any."""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from audition.engines.endpoint.address import Address
from audition.errors import UsageError


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        authorization: The value of `Proxy-Authorization`, or None.
    """

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


def proxy_for(address: Address) -> Proxy | None:
    """Return the proxy that the environment, or the system's settings, name for a server.

    A server on this machine never goes through one: a proxy variable must not put a company's proxy between a local
    model and the clock.

    Raises:
        UsageError: The proxy is of a kind that is not supported, or its address cannot be read.
    """
    if address.is_loopback:
        return None
    proxies = urllib.request.getproxies()
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
        return None
    fix = f'set {address.scheme.upper()}_PROXY to http://host:port, or add "{address.host}" to NO_PROXY'
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        # The address may hold a password: it is not shown.
        raise UsageError("the address of the proxy in the environment cannot be read", fix=fix)
    if parts.scheme != "http":
        raise UsageError(f"a proxy that is spoken to with {parts.scheme}:// is not supported", fix=fix)
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
    return Proxy(host, port or 80, authorization)
