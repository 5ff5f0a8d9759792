"""One connection to a server: opened before the timer, read the moment its bytes are there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audition.engines.endpoint import stamps
from audition.engines.endpoint.address import Address
from audition.engines.endpoint.http import MAX_HEADER_BYTES, Exchange
from audition.engines.endpoint.proxy import Proxy
from audition.engines.endpoint.tls import Tls
from audition.engines.protocol import EngineError
from audition.text import one_line

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 10.0

_IDLE_S = 3.0
"""Many servers close a connection after five idle seconds, and late where their cores are busy: a request that is sent
at that moment would fail, and nobody would be to blame. So a connection that is nearly as old is not used again."""


@dataclass(frozen=True, slots=True)
class Route:
    """How to get to a server.

    Attributes:
        tls: The settings for https; None for http.
    """

    address: Address
    proxy: Proxy | None = None
    tls: ssl.SSLContext | None = None


class Connection:
    """An open connection that carries one request at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        receive: Callable[[], stamps.Received],
        tls: Tls | None,
    ) -> None:
        self.loop = loop
        self.closed = False
        self._used_s = time.monotonic()
        self._sock = sock
        self._receive = receive
        self._tls = tls
        self._unsent = memoryview(b"")
        self._exchange: Exchange | None = None
        # Watched while it is idle too: a server that closes it is noticed at once.
        loop.add_reader(sock, self._on_readable)

    def is_usable(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Say whether a request can be sent; a server may have closed the connection a moment ago."""
        if self.loop is not loop or time.monotonic() - self._used_s > _IDLE_S:
            self.close()
        elif not self.closed:
            self._on_readable()
        return not self.closed

    def send(self, request: bytes, exchange: Exchange) -> None:
        """Send a request; `exchange` is filled as the answer comes."""
        self._exchange = exchange
        data = request
        if self._tls is not None:
            try:
                data = self._tls.encrypt(request)
            except OSError as error:  # `ssl.SSLError` is one
                exchange.sent_ns = time.perf_counter_ns()
                self._broke("tls_error", f"the request could not be encrypted ({one_line(str(error))})")
                return
        exchange.sent_ns = time.perf_counter_ns()
        self._send(data)

    def release(self) -> None:
        """Forget the exchange; what comes from now on was not asked for."""
        self._exchange = None
        self._used_s = time.monotonic()
        if self._unsent:  # answered before it had all been sent
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self.closed = True
            self.loop.remove_reader(self._sock)
            self.loop.remove_writer(self._sock)
            self._sock.close()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            count = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError:
            return  # whether an answer had come before the connection broke, the next read will tell
        if count < len(data):
            self._unsent = memoryview(data)[count:]
            self.loop.add_writer(self._sock, self._on_writable)

    def _on_writable(self) -> None:
        self.loop.remove_writer(self._sock)
        data, self._unsent = self._unsent, memoryview(b"")
        self._send(data)

    def _on_readable(self) -> None:
        try:
            data, at_ns, waited_ns = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broke(*_broken(error))
            return
        at_end = not data
        if self._tls is not None and data:
            try:
                data, at_end = self._tls.decrypt(data)
            except OSError as error:  # `ssl.SSLError` is one
                self._broke("tls_error", f"TLS failed in the middle of the connection ({one_line(str(error))})")
                return
            if answer := self._tls.unsent():
                self._send(answer)
        exchange = self._exchange
        if exchange is None:
            if data or at_end:
                self.close()
            return
        if data:
            exchange.received(data, at_ns, waited_ns)
        if at_end:
            self.close()
            exchange.ended(at_ns)

    def _broke(self, code: str, message: str) -> None:
        self.close()
        if self._exchange is not None:
            self._exchange.broke(code, message, time.perf_counter_ns())


async def connect(route: Route) -> Connection:
    """Open a connection.

    Raises:
        EngineError: The server cannot be reached; its code says how that showed.
    """
    target = route.proxy or route.address
    place = _place(target)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await _connect(route)
    except TimeoutError as error:
        message = f"{place} did not take a connection within {CONNECT_TIMEOUT_S:g} s"
        raise EngineError(message, code="connect_timeout") from error
    except ConnectionRefusedError as error:
        raise EngineError(f"nobody listens at {place}", fix="start the server", code="connection_refused") from error
    except socket.gaierror as error:
        message = f'no address is known for "{target.host}" ({error.strerror})'
        raise EngineError(message, code="host_not_found") from error
    except OSError as error:
        code, message = _broken(error)
        raise EngineError(f"no connection to {place}: {message}", code=code) from error


async def _connect(route: Route) -> Connection:
    loop = asyncio.get_running_loop()
    target = route.proxy or route.address
    sock, receive = await _open_socket(loop, target.host, target.port)
    try:
        if route.proxy is not None and route.tls is not None:
            await _open_tunnel(loop, sock, route.proxy, route.address)
        tls = None if route.tls is None else Tls(route.tls, route.address.host)
        if tls is not None:
            received = b""
            while not tls.shake_hands(received):
                await loop.sock_sendall(sock, tls.unsent())
                received = await loop.sock_recv(sock, stamps.READ_BYTES)
                if not received:
                    raise ConnectionResetError
            await loop.sock_sendall(sock, tls.unsent())
        return Connection(loop, sock, receive, tls)
    except BaseException:
        sock.close()
        raise


async def _open_socket(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> tuple[socket.socket, Callable[[], stamps.Received]]:
    """Connect to the first address of a host that answers."""
    failure: OSError | None = None
    for family, where in await _addresses(loop, host, port):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # this machine has no IPv6
            failure = failure or error
            continue
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            receive = stamps.receiver(sock)
            await loop.sock_connect(sock, where)
        except OSError as error:
            sock.close()
            failure = failure or error
        except BaseException:
            sock.close()
            raise
        else:
            return sock, receive
    raise failure or OSError("no address")


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, Any]]:
    # A resolver may give ::1 first, where few local servers listen; on Windows that costs two seconds per connection.
    names = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    try:
        numbers = [ipaddress.ip_address(name) for name in names]
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, where) for family, _, _, _, where in found]
    return [(socket.AF_INET if n.version == 4 else socket.AF_INET6, (str(n), port)) for n in numbers]


async def _open_tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, address: Address) -> None:
    """Have a proxy connect the socket to the server (RFC 9110, section 9.3.6)."""
    place = _place(address)
    head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if proxy.authorization is not None:
        head += f"Proxy-Authorization: {proxy.authorization}\r\n"
    await loop.sock_sendall(sock, f"{head}\r\n".encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = await loop.sock_recv(sock, 4096)
        answer += received
        if not received or len(answer) > MAX_HEADER_BYTES:
            raise EngineError("the proxy gave no proper answer", code="proxy_error")
    words = answer.partition(b"\r\n")[0].decode("latin-1")
    status = words.split(" ")[1:2]
    if not words.startswith("HTTP/1.") or not (status and status[0].startswith("2")):
        raise EngineError(f"the proxy refused the connection ({one_line(words, 100)})", code="proxy_error")


def _place(target: Address | Proxy) -> str:
    return f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"


def _broken(error: OSError) -> tuple[str, str]:
    """Return the code and the sentence for a connection that failed."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls_error", f"the server's certificate is not trusted ({one_line(error.verify_message)})"
    if isinstance(error, ssl.SSLError):
        return "tls_error", f"TLS failed ({one_line(error.reason or str(error))})"
    if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "connection_reset", "the connection was reset"
    return "connection_failed", one_line(error.strerror or str(error) or type(error).__name__)
