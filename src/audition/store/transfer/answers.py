"""What servers say in their headers, and what it means for a transfer."""

from __future__ import annotations

import re
import time
from email.message import Message
from email.utils import parsedate_to_datetime

from audition.store.transfer.fault import Fault
from audition.text import one_line

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(?:(\d{1,18})|\*)", re.ASCII)
# A date says when a file changed to the second only: one that is newer than this may have changed twice in it.
_SETTLED_S = 60
_ACCESS_FIX = "if it is private, or has terms to accept first, get access to it there"


def content_range(headers: Message) -> tuple[int, int, int | None] | None:
    """Return start, end (exclusive) and the whole file's size of a `Content-Range`; None when it has none.

    A `bytes */SIZE`, as it comes with a 416, is the empty range at 0.
    """
    match = _CONTENT_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if match is None:
        return None
    total = int(match[3]) if match[3] else None
    if match[1] is None:
        return 0, 0, total
    start, end = int(match[1]), int(match[2]) + 1
    return (start, end, total) if start < end and (total is None or end <= total) else None


def validator(headers: Message) -> str | None:
    """Return what tells for sure whether a file is still the same: a strong ETag, else a date that has settled."""
    etag = (headers.get("ETag") or "").strip()
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,500}"', etag):
        return etag
    try:
        changed = parsedate_to_datetime(headers["Last-Modified"])
        told = parsedate_to_datetime(headers["Date"])
        return headers["Last-Modified"] if (told - changed).total_seconds() >= _SETTLED_S else None
    except (TypeError, ValueError):
        return None


def refuse_encoding(headers: Message) -> None:
    """Refuse a body that was compressed on its way.

    Raises:
        Fault: It is; it was not asked for.
    """
    encoding = (headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise Fault(
            f"it sends the file in another form ({one_line(encoding, 20)}), which can neither be verified nor resumed",
            tries=2,
        )


def status_fault(status: int, headers: Message) -> Fault:
    """Return what a status that is no success means."""
    said = f"it answers {status}"
    if status == 401:
        return Fault(f"{said}: it asks who you are", code="unauthorized", fix=_ACCESS_FIX, lasting=True)
    if status == 403:
        return Fault(f"{said}: it does not allow this", code="unauthorized", fix=_ACCESS_FIX, lasting=True)
    if status == 407:
        why = "the proxy asks for a name and a password (407)"
        return Fault(why, code="no_network", fix="put them into https_proxy: http://name:password@host", lasting=True)
    if status in (404, 410):
        return Fault(f"{said}: there is no such file", code="not_found", fix="look at its address", lasting=True)
    if status in (408, 425, 429) or status >= 500:
        after_s = _retry_after(headers)
        asks = f" and asks to wait {after_s:,.0f} s" if after_s is not None else ""
        return Fault(said + asks, after_s=after_s)
    return Fault(f"{said}, which is neither the file nor a reason", lasting=True)


def _retry_after(headers: Message) -> float | None:
    text = (headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
