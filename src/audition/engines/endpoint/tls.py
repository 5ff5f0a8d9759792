"""TLS over a socket that is read elsewhere, so that the kernel's times of arrival work for encrypted streams too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audition.errors import UsageError

if TYPE_CHECKING:
    import ssl

_RECORD_BYTES = 2**16


def context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the settings for servers: the system's authorities and those in `ca_file`, and the name is checked.

    Raises:
        UsageError: `ca_file` cannot be read, or holds no certificate.
    """
    import ssl

    made = ssl.create_default_context()
    made.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            made.load_verify_locations(ca_file)
        except OSError as error:  # `ssl.SSLError` is one
            reason = error.strerror or str(error)
            raise UsageError(
                f"{ca_file} cannot be used as a file of certificates ({reason})", fix="give a file in PEM format"
            ) from error
    return made


class Tls:
    """The TLS side of one connection: encrypted bytes in and out, and plain ones."""

    def __init__(self, settings: ssl.SSLContext, host: str) -> None:
        import ssl

        self._wants_more = ssl.SSLWantReadError
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = settings.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self, received: bytes) -> bool:
        """Go on with the handshake, with what came; True when it is done.

        Raises:
            ssl.SSLError: The two cannot agree, or the certificate is not trusted.
        """
        self._incoming.write(received)
        try:
            self._object.do_handshake()
        except self._wants_more:
            return False
        return True

    def decrypt(self, received: bytes) -> tuple[bytes, bool]:
        """Return what can be read now, and whether the server said that it will send no more.

        Raises:
            ssl.SSLError: The bytes are not what the server encrypted.
        """
        self._incoming.write(received)
        parts: list[bytes] = []
        try:
            while part := self._object.read(_RECORD_BYTES):
                parts.append(part)
        except self._wants_more:
            return b"".join(parts), False
        return b"".join(parts), True

    def encrypt(self, data: bytes) -> bytes:
        """Return what to send for `data`."""
        self._object.write(data)
        return self.unsent()

    def unsent(self) -> bytes:
        """Return what TLS itself wants to send: the handshake, an answer to a change of keys."""
        return self._outgoing.read()
