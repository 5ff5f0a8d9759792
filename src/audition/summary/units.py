"""How numbers are written in sentences and tables: rounded to what they carry, with their unit."""

from __future__ import annotations

import math


def duration(ms: float) -> str:
    """Return milliseconds as `0.42 ms`, `87 ms` or `3.42 s`; too many failures make a latency infinite."""
    if math.isinf(ms):
        return "infinite"
    return f"{rounded(ms, 0)} ms" if round(ms) < 1000 else f"{ms / 1000:,.2f} s"


def size(n_bytes: float) -> str:
    """Return bytes as `0.42 MB`, `98 MB` or `4.37 GB` (decimal units)."""
    mb = n_bytes / 1e6
    return f"{rounded(mb, 0)} MB" if round(mb) < 1000 else f"{n_bytes / 1e9:,.2f} GB"


def counted(n: int, noun: str) -> str:
    """Return `1 round` or `3 rounds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def rounded(value: float, decimals: int) -> str:
    """Return a number to so many decimals; one below 1 keeps two digits, or it would read as nothing at all."""
    return f"{value:.2g}" if 0 < abs(value) < 1 else f"{value:,.{decimals}f}"
