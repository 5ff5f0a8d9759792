"""Names of model files on the web: `https://host/path/model.gguf`, with `#sha256=HEX` for what it has to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from audition.errors import UsageError
from audition.models.folder import FILE_NAME
from audition.models.spec import VariantFile
from audition.text import one_line

_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class WebName:
    """What a name on the web says.

    Attributes:
        url: The address, without what follows a `#`.
        file: The file that is there: its name, and its SHA-256 where the name gives one.
    """

    url: str
    file: VariantFile


def is_web_name(name: str) -> bool:
    """Return whether a model's name is an address."""
    return name.lower().startswith(("https://", "http://"))


def parse_web_name(name: str, sha256: str | None = None) -> WebName:
    """Return what `https://host/path/model.gguf[#sha256=HEX]` says.

    Args:
        name: The name. `http:` is taken for this machine only: nobody else's answer could be trusted.
        sha256: What a catalog says beside it.

    Raises:
        UsageError: It is no such address, or two different digests are given.
    """
    shown = one_line(name, 120)
    url, hash_, fragment = name.partition("#")
    digest = _SHA256.fullmatch(fragment)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or not url.isascii() or not url.isprintable() or " " in url or len(url) > _MAX_CHARACTERS:
        raise UsageError(f"{shown} is no address", fix="write https://host/path/model.gguf")
    if parts.username is not None or parts.password is not None:
        raise UsageError("an address with a name or a password in it is not taken", fix="write https://host/path")
    if parts.scheme.lower() != "https" and host not in _LOOPBACK:
        raise UsageError(f"{shown} is not encrypted, so anybody on the way could change it", fix="write https://")
    if hash_ and digest is None:
        raise UsageError(f"{shown}: what follows the # is no SHA-256", fix="write #sha256= and its 64 hex digits")
    stated = {digest[1].lower()} if digest else set()
    stated |= {sha256} if sha256 else set()
    if len(stated) > 1:
        raise UsageError(f"{shown} has two different SHA-256 digests", fix="leave the wrong one out")
    last = unquote(parts.path.rpartition("/")[2])
    file = VariantFile(last if FILE_NAME.fullmatch(last) else "model.gguf", None, next(iter(stated), None))
    return WebName(url, file)
