"""How sizes are written: rounded to what they carry, in decimal units."""

from __future__ import annotations


def size(n_bytes: float) -> str:
    """Return bytes as `2 bytes`, `0.42 MB`, `98 MB`, `4.37 GB` or `1.20 TB`."""
    if 0 < n_bytes < 1000:
        return f"{n_bytes:.0f} bytes"
    if round(n_bytes / 1e6) < 1000:
        return f"{rounded(n_bytes / 1e6, 0)} MB"
    return f"{n_bytes / 1e9:,.2f} GB" if round(n_bytes / 1e9, 2) < 1000 else f"{n_bytes / 1e12:,.2f} TB"


def rounded(value: float, decimals: int) -> str:
    """Return a number to so many decimals; one below 1 keeps two digits, or it would read as nothing at all."""
    return f"{value:.2g}" if 0 < abs(value) < 1 else f"{value:,.{decimals}f}"
