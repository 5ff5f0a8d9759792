"""How patient a transfer is, and how wide."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Settings:
    """What a transfer may take; tests use shorter times.

    Attributes:
        socket_s: Longest silence of a connection, in seconds.
        drip_s: A connection that brings less than `drip_rate` bytes a second for so long has stalled as well.
        drip_rate: Bytes a second.
        first_tries: Requests before it is given up, when nothing has arrived at all.
        tries: Requests without any progress before it is given up, once something has.
        worthwhile: So many new bytes are progress; a server that sends a few each time is not asked for ever.
        first_wait_s: The wait before the second request; it doubles each time, with jitter.
        longest_wait_s: The most that it grows to.
        longest_retry_after_s: A server that asks for a longer wait is given up.
        connections: The most at the same time for one file.
        piece: Bytes that one of several connections asks for.
        fast: A connection that brings so many bytes a second is fast enough not to need another one.
        widen_s: Seconds between one connection and the next; after a fault, ten times as long.
        save_s: Seconds between two notes in the journal of what has arrived.
    """

    socket_s: float = 30.0
    drip_s: float = 30.0
    drip_rate: int = 1024
    first_tries: int = 3
    tries: int = 8
    worthwhile: int = 64 * 1024
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    connections: int = 4
    piece: int = 64 * MIB
    fast: int = 100_000_000
    widen_s: float = 1.0
    save_s: float = 0.25


SETTINGS = Settings()


def in_force() -> Settings:
    """Return what holds unless a caller says otherwise."""
    return SETTINGS
