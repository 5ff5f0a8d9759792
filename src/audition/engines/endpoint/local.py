"""Servers on this machine: which process listens at a port, and where the usual ones are."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from audition.errors import UsageError
from audition.text import one_line

if TYPE_CHECKING:
    import psutil

FOUNDRY = "foundry"
FOUNDRY_VARIABLE = "FOUNDRY_LOCAL_ENDPOINT"

# Where they listen unless somebody chose another place.
USUAL = {
    "ollama": "http://127.0.0.1:11434/v1",
    "lmstudio": "http://127.0.0.1:1234/v1",
    "llama-server": "http://127.0.0.1:8080/v1",
    "vllm": "http://127.0.0.1:8000/v1",
}
_STATUS_COMMANDS = (("server", "status"), ("service", "status"))  # of its command line from 0.10 on, and before
_STATUS_TIMEOUT_S = 10.0
_FOUNDRY_PROCESS = re.compile(r"foundry|inference\.service\.agent", re.IGNORECASE)
_ADDRESS = re.compile(r"http://[\w.\[\]:-]{1,100}:\d{1,5}(?![\w:])")

RELAYS = frozenset(
    (
        *("docker-proxy", "com.docker.backend", "rootlessport", "slirp4netns", "pasta", "gvproxy", "vpnkit"),
        *(
            "systemd",
            "launchd",
            "wslrelay",
            "wslhost",
            "ssh",
            "sshd",
            "kubectl",
            "nginx",
            "haproxy",
            "envoy",
            "caddy",
            "traefik",
            "socat",
        ),
    )
)
"""Programs that pass on what they receive: at their port, the server itself is somewhere else."""


def address_of(name: str) -> str | None:
    """Return the address that one of the usual servers' names stands for; None for what is no such name.

    Raises:
        UsageError: No Foundry Local can be found.
    """
    return foundry_address() if name == FOUNDRY else USUAL.get(name)


def foundry_address() -> str:
    """Return where Foundry Local's service listens: its port is another one after each start.

    `FOUNDRY_LOCAL_ENDPOINT` has the first word, then the `foundry` command, then what listens on this machine under
    that name.

    Raises:
        UsageError: None of them knows.
    """
    if address := os.environ.get(FOUNDRY_VARIABLE, "").strip():
        return address
    found = _by_command() or _by_process()
    if found is None:
        raise UsageError(
            "no running Foundry Local was found",
            fix=f"start it (foundry server start), or set {FOUNDRY_VARIABLE} to its address",
            code="server_not_found",
        )
    return found


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listening(port: int) -> list[int] | None:
    """Return the processes that listen on a port of this machine; None when the system does not tell."""
    return sorted(listeners().get(port, ())) or None


def listeners() -> dict[int, set[int]]:
    """Return the processes that listen on TCP ports of this machine, as far as the system tells whose they are."""
    import psutil

    found: dict[int, set[int]] = defaultdict(set)

    def add(pid: int | None, connection: Any) -> None:
        if pid is not None and connection.status == psutil.CONN_LISTEN and connection.laddr:
            found[connection.laddr.port].add(pid)

    try:
        for shown in psutil.net_connections(kind="tcp"):
            add(shown.pid, shown)
    except (psutil.Error, OSError):
        # macOS shows all connections to root alone, but anybody's own processes to themselves.
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                for connection in process.net_connections(kind="tcp"):
                    add(process.pid, connection)
    return found


def server_process(url: str) -> int | str:
    """Return the process whose tree is the server at an address, or in words why it is not known."""
    import psutil

    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return "the server is not on this machine, or not addressed as 127.0.0.1"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    pids = listening(port)
    if pids is None:
        return "the system does not show whose process listens there: another user's, or in a container"
    try:
        tops = {_top(psutil.Process(pid), port) for pid in pids}
        if len(tops) != 1:
            return "several programs listen there"
        process = tops.pop()
        if _is_relay(process):
            return f"{one_line(process.name(), 40)} listens there and passes on to a server elsewhere"
    except psutil.Error:
        return "its process cannot be looked at"
    return process.pid


def _top(process: psutil.Process, port: int) -> psutil.Process:
    """Return the uppermost of the processes that share a port: of a parent and its workers the system names any."""
    import psutil

    for parent in process.parents():
        with suppress(psutil.Error, OSError):
            shared = [c for c in parent.net_connections(kind="tcp") if c.laddr and c.laddr.port == port]
            if any(c.status == psutil.CONN_LISTEN for c in shared) and not _is_relay(parent):
                process = parent
                continue
        break
    return process


def _is_relay(process: psutil.Process) -> bool:
    return process.name().casefold().removesuffix(".exe") in RELAYS


def _by_command() -> str | None:
    program = shutil.which("foundry")
    for words in _STATUS_COMMANDS if program else ():
        command = [str(program), *words]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_STATUS_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        for address in _ADDRESS.findall(done.stdout[:100_000].decode(errors="replace")):
            if is_loopback(urlsplit(address).hostname or ""):
                return str(address)
    return None


def _by_process() -> str | None:
    import psutil

    for port, pids in sorted(listeners().items()):
        for pid in pids:
            try:
                process = psutil.Process(pid)
                words = [process.name(), *process.cmdline()[:1]]
            except psutil.Error:
                continue
            if any(_FOUNDRY_PROCESS.search(os.path.basename(word)) for word in words):  # noqa: PTH119
                return f"http://127.0.0.1:{port}"
    return None
