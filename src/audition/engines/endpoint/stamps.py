"""When bytes reached this machine: the kernel's time of arrival where it gives one, else the time of the read.

Linux stamps each segment as it arrives (`SO_TIMESTAMPNS`, socket(7)), so what is measured does not depend on when this
process got around to reading. Its stamps are of `CLOCK_REALTIME`, which jumps and is slewed; so only the *age* of
a stamp is used, taken at the read: how long the bytes had lain in the kernel.

A read that covers several segments gets the stamp of the last one (`tcp_recvmsg` reports the last buffer it took from;
segments that the kernel merged in the queue carry the later stamp). So the end of an answer is exact, and text that
waited together with later text is dated late, never early. Reading in smaller portions would not undo a merge.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable

READ_BYTES = 2**16
MAX_AGE_NS = 60 * 10**9

# Not in the `socket` module. 64-bit Linux alone: elsewhere the stamp has another layout.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_ANCILLARY_BYTES = 64  # CMSG_SPACE(16) is 32

Received = tuple[bytes, int, int | None]
"""Bytes, when they arrived (`perf_counter_ns`), and how many nanoseconds they had waited; None if nobody knows."""


def receiver(sock: socket.socket) -> Callable[[], Received]:
    """Return the function that reads from a non-blocking socket; call this before the socket is connected.

    The function raises `BlockingIOError` when there is nothing to read, and another `OSError` when the connection
    broke; it returns no bytes at the end.
    """
    if sys.platform == "linux" and struct.calcsize("l") == 8:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        except OSError:
            return _plain(sock)
        return _stamped(sock)
    return _plain(sock)


def _plain(sock: socket.socket) -> Callable[[], Received]:
    def receive() -> Received:
        data = sock.recv(READ_BYTES)
        return data, time.perf_counter_ns(), None

    return receive


def _stamped(sock: socket.socket) -> Callable[[], Received]:
    recvmsg, realtime, clock = sock.recvmsg, time.time_ns, time.perf_counter_ns

    def receive() -> Received:
        data, ancillary, _, _ = recvmsg(READ_BYTES, _ANCILLARY_BYTES)
        # In this order a process that is held up between the two dates the bytes late, never early.
        realtime_ns = realtime()
        return data, *arrival(ancillary, realtime_ns, clock())

    return receive


def arrival(ancillary: list[tuple[int, int, bytes]], realtime_ns: int, now_ns: int) -> tuple[int, int | None]:
    """Return when bytes arrived, and how long they had waited; None where the kernel's stamp is missing or senseless.

    Args:
        ancillary: What `recvmsg` gave beside the bytes.
        realtime_ns: `CLOCK_REALTIME` after the read, the clock of the stamp.
        now_ns: The monotonic clock after that.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            age_ns = realtime_ns - seconds * 10**9 - nanoseconds
            # Outside these bounds somebody set the clock while the bytes waited.
            if 0 <= age_ns <= MAX_AGE_NS:
                return now_ns - age_ns, age_ns
    return now_ns, None
