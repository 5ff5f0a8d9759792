"""What people type for a server, and the one address that is meant by it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from audition.errors import UsageError
from audition.text import one_line

_PORTS = {"http": 80, "https": 443}
_ROUTES = ("/chat/completions", "/completions", "/models")
# What may stand in a request line as it is: no blanks, no controls, nothing outside ASCII.
_PATH = re.compile(r"[!$-;=@-Z_a-z~]*")
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z._-]*[0-9A-Za-z_.])?")
_FIX = "give the server's address like this: http://127.0.0.1:8080/v1"


@dataclass(frozen=True, slots=True)
class Address:
    """A base address, taken apart.

    Attributes:
        host: Without the brackets of an IPv6 address.
        authority: Host and port as the `Host` header has them.
        path: Begins with a slash, ends without one.
    """

    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @property
    def origin(self) -> str:
        """The address as text, without its path."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The address as text."""
        return self.origin + self.path

    @property
    def is_loopback(self) -> bool:
        """The server is on this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def normalised(url: str) -> str:
    """Return the base address, up to and with `/v1`, that `url` stands for.

    Raises:
        UsageError: It is no address of a server, or it holds a name or a password.

    Examples:
        >>> normalised("127.0.0.1:8080")
        'http://127.0.0.1:8080/v1'
        >>> normalised("https://example.org/v1/chat/completions")
        'https://example.org/v1'
    """
    return parse(url).url


def parse(url: str) -> Address:
    """Take an address apart, as `normalised` does.

    Raises:
        UsageError: It is no address of a server, or it holds a name or a password.
    """
    text = url.strip()
    shown = one_line(text.rpartition("@")[2], 100)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise UsageError(f'"{shown}" is not an address ({one_line(str(error))})', fix=_FIX) from error
    if parts.username is not None or parts.password is not None:
        # An address is printed and stored with every run; a key in it would be as well.
        raise UsageError("the address holds a name or a password", fix="leave it out, and give the key as a key")
    if parts.scheme not in _PORTS:
        raise UsageError(f'"{shown}" is neither http:// nor https://', fix=_FIX)
    is_ipv6 = ":" in host
    # "http:/host" reads as a host named "http".
    if not (is_ipv6 or _HOST.fullmatch(host)) or port == 0 or host in _PORTS:
        raise UsageError(f'"{shown}" names no server', fix=_FIX)
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
        raise UsageError(f'"{shown}" has more than a path after the server\'s name', fix=_FIX)
    path = parts.path.rstrip("/")
    for route in _ROUTES:
        path = path.removesuffix(route)
    authority = (f"[{host}]" if is_ipv6 else host) + (f":{port}" if port else "")
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], authority, path.rstrip("/") or "/v1")
