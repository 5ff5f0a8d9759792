"""Requests: where they may go, what they carry there, and what an answer must look like.

The standard library's client is used because its responses read straight into our buffers: measured over loopback
it is the fastest one that Python has, and it honours proxies from the environment.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

import audition
from audition.errors import AuditionError
from audition.store.transfer.answers import content_range, refuse_encoding, status_fault
from audition.store.transfer.client import PORTS, opener
from audition.store.transfer.fault import Fault, Tries
from audition.store.transfer.settings import Settings, in_force
from audition.text import one_line

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_EXPIRED = (400, 401, 403, 404, 410)
_NETWORK_FIX = "check the network and the proxy settings (https_proxy, no_proxy)"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file is.

    Attributes:
        url: Its address.
        headers: What goes with a request to this origin (a token, say), and to no other; never shown.
        plain_http: Whether `http://` is allowed beyond this machine: for an endpoint that a person set themselves.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain_http: bool = False

    @property
    def host(self) -> str:
        """The server's name, for people."""
        return one_line(host_of(self.url), 80)

    @property
    def address(self) -> str:
        """The address without what may be secret in it: query, fragment, user and password."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return ""  # it is none, as the first request will say
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def host_of(url: str) -> str:
    """Return the host that an address names; "nowhere" where it names none."""
    try:
        return urlsplit(url).hostname or "nowhere"
    except ValueError:
        return "nowhere"


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Answer:
    """A server's answer, whose body has not been read yet.

    Attributes:
        location: Where it came from, after all redirects.
    """

    def __init__(self, response: http.client.HTTPResponse, location: Location, settings: Settings) -> None:
        self._response = response
        self._settings = settings
        self._waited_s = 0.0
        self._window = 0
        self.location = location
        self.status = response.status
        self.headers = response.headers
        # Without a transfer coding, the socket's own reader fills our buffer with what is there, and never waits
        # for it to be full: a slow server is noticed, and bytes are copied once.
        self._raw = None if response.chunked or response.length is None else response.fp
        self._left = response.length or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def length(self) -> int | None:
        """Bytes of the body, or None when the server does not say."""
        text = self.headers.get("Content-Length")
        return int(text) if text and text.isascii() and text.isdigit() and not self._response.chunked else None

    def readinto(self, buffer: memoryview) -> int:
        """Read what is there, at least one byte; return how many, 0 at the end of the body.

        Raises:
            Fault: The connection broke, fell silent, or became too slow.
        """
        started = time.monotonic()
        try:
            count = self._read(buffer)
        except TimeoutError as error:
            raise stalled(f"nothing has arrived for {self._settings.socket_s:g} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Fault(f"the connection broke ({reason(error)})", fix=_NETWORK_FIX) from error
        # Only the time spent waiting for the network counts: a slow disk is no slow server.
        self._waited_s += time.monotonic() - started
        self._window += count
        if self._waited_s >= self._settings.drip_s:
            if self._window < self._settings.drip_rate * self._waited_s and count:
                raise stalled(f"less than {self._settings.drip_rate} bytes a second arrive")
            self._waited_s, self._window = 0.0, 0
        return count

    def _read(self, buffer: memoryview) -> int:
        if self._raw is None:
            data = self._response.read1(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        if not self._left or self._raw.closed:
            return 0
        count = self._raw.readinto1(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def stalled(why: str) -> Fault:
    """Return the fault of a server that is too slow."""
    return Fault(why, code="stalled", fix=_NETWORK_FIX)


class Route:
    """The way to one file: its location, and where that led the last time, for as long as that works."""

    def __init__(self, location: Location, settings: Settings | None = None) -> None:
        self.location = location
        self._settings = settings or in_force()
        self._led_to: Location | None = None
        self._openers: dict[str, urllib.request.OpenerDirector] = {}

    def get(self, headers: Mapping[str, str]) -> Answer:
        """Ask for the file, following redirects; every status but those of redirects is returned.

        Raises:
            Fault: There is no answer, or it leads where it may not.
        """
        if self._led_to is not None:
            answer = self._ask(self._led_to, headers)
            if answer.status not in _EXPIRED:
                return answer
            # A signed address does not live long; where it came from gives another one.
            answer.close()
            self._led_to = None
        answer = self._ask(self.location, headers)
        if answer.status in (200, 206) and answer.location.url != self.location.url:
            self._led_to = answer.location
        return answer

    def read(self, start: int, count: int) -> tuple[bytes, int | None]:
        """Read a part of the file into memory; see `read_range`."""
        tries = Tries(self._settings)
        while True:
            try:
                return self._read(start, count)
            except Fault as fault:
                try:
                    wait_s = tries.wait_after(fault, went_on=False)
                except Fault:
                    message = f"{self.location.host} could not be asked for {_name(self.location)}: {fault.why}"
                    raise AuditionError(message, fix=fault.fix, code=fault.code) from fault
            time.sleep(wait_s)

    def _read(self, start: int, count: int) -> tuple[bytes, int | None]:
        with closing(self.get({"Range": f"bytes={start}-{start + count - 1}"})) as answer:
            if answer.status == 416:
                return b"", (content_range(answer.headers) or (0, 0, None))[2]
            if answer.status not in (200, 206):
                raise status_fault(answer.status, answer.headers)
            refuse_encoding(answer.headers)
            total, end = answer.length, start + count
            if answer.status == 206:
                told = content_range(answer.headers)
                if told is None or told[0] != start or told[1] > end:
                    raise Fault("it sends another part of the file than the one that was asked for")
                end, total = told[1], told[2]
            elif start:
                fix = "download the model without a look into it first"
                raise Fault("it does not send parts of files", fix=fix, tries=2)
            elif total is not None:
                end = min(end, total)
            buffer, at = memoryview(bytearray(end - start)), 0
            while at < len(buffer) and (got := answer.readinto(buffer[at:])):
                at += got
            if at < len(buffer) and (answer.status == 206 or total is not None):
                raise Fault("the connection ended early", fix=_NETWORK_FIX)
            return bytes(buffer[:at]), total

    def _ask(self, location: Location, headers: Mapping[str, str]) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            response = self._request(location, headers)
            if response.status not in _REDIRECTS:
                return Answer(response, location, self._settings)
            target = response.headers.get("Location")
            response.close()
            if not target:
                raise Fault("it redirects without saying where to", lasting=True)
            location = _redirected(location, target)
        raise Fault(f"it redirects more than {MAX_REDIRECTS} times", lasting=True)

    def _request(self, location: Location, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        parts = _allowed(location)
        url = urlunsplit(parts)
        # A server that compresses would send bytes that cannot be verified, and ranges of something else.
        own = {"User-Agent": f"audition/{audition.__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers={**own, **location.headers, **headers})  # noqa: S310 - checked
        if parts.scheme not in self._openers:
            self._openers[parts.scheme] = opener(parts.scheme)
        try:
            response = self._openers[parts.scheme].open(request, timeout=self._settings.socket_s)
        except urllib.error.URLError as error:
            raise _unreachable(error.reason) from error
        except TimeoutError as error:
            raise stalled(f"it has not answered for {self._settings.socket_s:g} s") from error
        except http.client.InvalidURL as error:
            raise Fault("its address is not one", code="bad_source", lasting=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Fault(f"its answer could not be read ({reason(error)})", fix=_NETWORK_FIX) from error
        return cast(http.client.HTTPResponse, response)


def read_range(
    location: Location, start: int, count: int, *, settings: Settings | None = None
) -> tuple[bytes, int | None]:
    """Read a part of a remote file into memory.

    Args:
        location: The file.
        start: The first byte.
        count: How many bytes, at most; fewer are returned at the end of the file.
        settings: How patient to be.

    Returns:
        The bytes, and the whole file's size (None when the server does not say).

    Raises:
        AuditionError: It cannot be had; one sentence with the cause.
    """
    return Route(location, settings).read(start, count)


def reason(error: object) -> str:
    """Return what an error says, in one short line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(text, 120) or type(error).__name__


def _name(location: Location) -> str:
    return one_line(location.address.rpartition("/")[2] or "a file", 80)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)


def _allowed(location: Location) -> SplitResult:
    """Return an address as it may be requested: nothing in it that a request line or a host name cannot hold.

    Raises:
        Fault: It is none, or nobody should go there.
    """
    fix = "give an address that begins with https://"
    try:
        parts = urlsplit(location.url)
        host, _ = parts.hostname, parts.port
        if parts.scheme not in PORTS or not host:
            raise Fault("its address is not one of the web (https://)", code="bad_source", fix=fix, lasting=True)
        host = host if ":" in host else host.encode("idna").decode()
    except ValueError as error:
        raise Fault(f"its address is not one ({reason(error)})", code="bad_source", fix=fix, lasting=True) from error
    if "@" in parts.netloc:
        raise Fault(
            "its address has a user name in it, which would end up in files and messages",
            code="bad_source",
            fix="leave the part before the @ out",
            lasting=True,
        )
    if parts.scheme == "http" and not (location.plain_http or is_loopback(host)):
        raise Fault("http:// is not safe beyond this machine", code="bad_source", fix="use https://", lasting=True)
    netloc = f"[{host}]" if ":" in host else host
    netloc += f":{parts.port}" if parts.port else ""
    kept = "/%:@!$&'()*+,;=~-._"
    return SplitResult(parts.scheme, netloc, quote(parts.path, kept) or "/", quote(parts.query, kept + "?"), "")


def _redirected(location: Location, target: str) -> Location:
    """Return where a redirect leads; what was meant for one origin stays behind when another one follows.

    Raises:
        Fault: It leads from https to http, or to what is no address.
    """
    # Headers arrive as Latin-1; servers that write other scripts there mean UTF-8.
    target = target.encode("latin-1", "replace").decode("utf-8", "replace")
    before = _allowed(location)
    try:
        url = urljoin(location.url, target)
        after = replace(location, url=url)
        parts = _allowed(after)
    except ValueError as error:
        raise Fault("it redirects to what is no address", lasting=True) from error
    except Fault as fault:
        raise Fault(f"it redirects elsewhere, and {fault.why}", lasting=True) from fault
    if before.scheme == "https" and parts.scheme != "https":
        raise Fault("it redirects from https to http", lasting=True)
    return after if _origin(before) == _origin(parts) else replace(after, headers={})


def _unreachable(error: object) -> Fault:
    if isinstance(error, Fault):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault(
            f"its certificate is not trusted ({one_line(error.verify_message or str(error), 100)})",
            fix="if a proxy of your company's stands between, set SSL_CERT_FILE to its certificate",
            lasting=True,
        )
    if isinstance(error, TimeoutError):
        return Fault("it cannot be reached (the connection timed out)", code="no_network", fix=_NETWORK_FIX)
    return Fault(f"it cannot be reached ({reason(error)})", code="no_network", fix=_NETWORK_FIX)
