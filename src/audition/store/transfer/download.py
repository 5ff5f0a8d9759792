"""One file's transfer: requests in threads, and one place that decides what happens next."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from audition.errors import AuditionError
from audition.store.blobs import Progress, read_chunks
from audition.store.transfer.fault import Fault, Tries
from audition.store.transfer.follower import Follower
from audition.store.transfer.partial import Partial
from audition.store.transfer.pieces import Claim, Pieces
from audition.store.transfer.settings import Settings
from audition.store.transfer.stream import Stream
from audition.store.transfer.web import Location, Route, stalled

_TICK_S = 0.1
KEPT = "what has arrived is kept, and the same command goes on from there"


@dataclass(eq=False, slots=True)
class _Request:
    claim: Claim
    stream: Stream


class Download:
    """Brings one file into its partial file, whole and hashed.

    Requests run in threads of their own and end in the queue, with their fault if they had one; every decision (to
    retry, to start over, to open another connection, to give up) is made in `run`, in the caller's thread, which
    an interrupt therefore ends at once.
    """

    def __init__(self, partial: Partial, location: Location, progress: Progress, settings: Settings) -> None:
        self._partial = partial
        self._wanted = partial.wanted
        self._location = location
        self._progress = progress
        self._settings = settings
        self._route = Route(location, settings)
        self._pieces = Pieces(partial.size, partial.arrived, settings.piece)
        self._ended: queue.Queue[tuple[_Request, BaseException | None]] = queue.Queue()
        self._requests: list[_Request] = []
        self._follower = self._new_follower()
        self._tries = Tries(settings)
        self._most_done = self._pieces.done
        self._is_spliced = self._pieces.done > 0
        self._is_narrow = settings.connections < 2
        self._useless = self._lost = 0
        self._not_before = self._widen_at = 0.0
        self._saved_at = self._saved_done = 0.0
        self._told: tuple[str, int] | None = None
        self._rate_at, self._rate_done = time.monotonic(), self._pieces.done

    def run(self) -> tuple[str, int]:
        """Return the digest and the size of what is now complete in the partial file; its digest is verified.

        Raises:
            AuditionError: With the cause. What has arrived is kept, unless it is proven to be wrong.
            OSError: The disk refuses.
        """
        try:
            while True:
                self._transfer()
                sha256, size = self._hashed()
                wrong = self._wrong(sha256, size)
                if wrong is None:
                    return sha256, size
                if not self._is_spliced:
                    self._refuse(wrong)
                # What an earlier process left, or another answer brought, may be what is wrong: once from the start.
                self._start_over()
        except Fault as fault:
            self._give_up(fault)
        finally:
            self._stop()

    def _transfer(self) -> None:
        # A thread that is about to end still has the file open.
        while self._requests or not self._pieces.is_complete:
            self._begin_requests()
            try:
                request, error = self._ended.get(timeout=self._until_due())
            except queue.Empty:
                pass
            else:
                self._after(request, error)
            self._watch()
            self._save_and_tell()

    def _begin_requests(self) -> None:
        now = time.monotonic()
        if now < self._not_before or (self._requests and not self._may_widen(now)):
            return
        claim = self._pieces.take()
        if claim is None:
            return
        stream = Stream(claim, self._pieces, self._partial, self._route, self._on_size)
        request = _Request(claim, stream)
        self._requests.append(request)
        self._widen_at = max(self._widen_at, now + self._settings.widen_s)
        self._rate_at, self._rate_done = now, self._pieces.done
        threading.Thread(target=self._run_request, args=(request,), name="fetch", daemon=True).start()

    def _until_due(self) -> float:
        """Return how long to wait for a request to end, at most: until there is something to do or to tell."""
        due = self._not_before - time.monotonic()
        return min(_TICK_S, due) if due > 0 and not self._requests else _TICK_S

    def _may_widen(self, now: float) -> bool:
        """Whether another connection would help: where the network is slower than this machine, up to a number."""
        if self._is_narrow or self._pieces.is_whole or now < self._widen_at:
            return False
        if len(self._requests) >= self._settings.connections:
            return False
        # Parts that come from different answers have to be of the same file.
        if not (self._wanted.is_promised or self._partial.validator):
            return False
        if not any(request.stream.is_accepted for request in self._requests):
            return False
        rate = (self._pieces.done - self._rate_done) / max(now - self._rate_at, 1e-3)
        return rate / len(self._requests) < self._settings.fast

    def _run_request(self, request: _Request) -> None:
        try:
            request.stream.run()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._ended.put((request, error))
        else:
            self._ended.put((request, None))

    def _after(self, request: _Request, error: BaseException | None) -> None:
        if request not in self._requests:
            return  # given up by `_watch`
        self._drop(request)
        went_on = self._pieces.done >= self._most_done + self._settings.worthwhile
        if went_on:
            self._most_done = self._pieces.done
            self._useless = self._lost = 0
        if error is None:
            return
        if not isinstance(error, Fault):
            raise error
        if self._requests:
            # The others go on; a server that does not like several connections is not asked again so soon.
            self._widen_at = time.monotonic() + 10 * self._settings.widen_s
            self._lost += 1
            self._is_narrow = self._is_narrow or error.start_over or self._lost >= self._settings.connections
            return
        self._is_spliced = True
        wait_s = self._tries.wait_after(error, went_on=went_on)
        self._not_before = time.monotonic() + wait_s
        # Once may be a server's slip, and much may have arrived already.
        self._useless += error.start_over
        if self._useless > 1:
            self._start_over()

    def _watch(self) -> None:
        """Give up requests that are stuck where no time-out of a socket reaches: looking up a name, for one."""
        longest = 2 * self._settings.socket_s + self._settings.drip_s
        for request in list(self._requests):
            if time.monotonic() - request.stream.alive_at > longest:
                self._after(request, stalled(f"nothing has arrived for {longest:g} s"))

    def _drop(self, request: _Request) -> None:
        self._requests.remove(request)
        self._pieces.release(request.claim)

    def _start_over(self) -> None:
        """Forget what has arrived, and ask for the whole file."""
        self._pieces.restart(None, self._wanted.size)
        self._partial.size = self._wanted.size
        self._partial.validator = None
        self._is_spliced = False
        self._useless = 0
        self._follower.stop()  # Windows removes no file that is open
        self._partial.drop()
        self._follower = self._new_follower()

    def _on_size(self, restarted: bool) -> None:
        """Called from a request's thread as soon as its answer is accepted."""
        if restarted:
            self._follower.stop()
            self._follower = self._new_follower()
            self._is_spliced = False
        self._partial.save(self._pieces.arrived)

    def _new_follower(self) -> Follower:
        self._partial.path.touch()
        follower = Follower(self._partial.path)
        follower.start()
        return follower

    def _save_and_tell(self) -> None:
        self._follower.follow(self._pieces.front)
        now, done = time.monotonic(), self._pieces.done
        if done != self._saved_done and now - self._saved_at >= self._settings.save_s:
            self._save()
        self._tell(self._wanted.name, done)

    def _save(self) -> None:
        self._saved_at, self._saved_done = time.monotonic(), self._pieces.done
        self._partial.save(self._pieces.arrived)

    def _tell(self, what: str, done: int) -> None:
        if self._told != (what, done):
            self._told = (what, done)
            self._progress(what, done, self._pieces.size)

    def _hashed(self) -> tuple[str, int]:
        """Wait until everything is hashed."""
        size = self._pieces.size or 0
        with self._partial.writer() as out:
            # What a killed process wrote after its last note, of a file that was longer then, is no part of this one.
            if out.seek(0, os.SEEK_END) > size:
                out.truncate(size)
        self._tell(self._wanted.name, size)
        self._save()
        self._follower.end(size)
        while self._follower.is_alive():
            self._follower.join(_TICK_S)
            if size - self._follower.done > self._settings.piece:
                self._tell(f"{self._wanted.name} (verifying)", self._follower.done)
        return self._follower.result(), size

    def _wrong(self, sha256: str, size: int) -> str | None:
        """Return in what the file differs from what was promised, or None."""
        wanted = self._wanted
        if wanted.sha256 not in (None, sha256):
            return f"its SHA-256 is {sha256}, not {wanted.sha256}"
        if wanted.git_sha1 is not None:
            git = git_digest(self._partial.path, size)
            if git != wanted.git_sha1:
                return f"its digest in git is {git}, not {wanted.git_sha1}"
        return None

    def _refuse(self, wrong: str) -> NoReturn:
        self._partial.drop()
        raise AuditionError(
            f"{self._wanted.name} from {self._location.host} is not the file that was promised: {wrong}",
            fix="try again; if it stays, the source has changed or the transfer is being altered",
            code="digest_mismatch",
        )

    def _give_up(self, fault: Fault) -> NoReturn:
        kept = f"; {KEPT}" if self._pieces.done else ""
        raise AuditionError(
            f"{self._wanted.name} could not be downloaded from {self._location.host}: {fault.why}",
            fix=f"{fault.fix}{kept}",
            code=fault.code,
        ) from fault

    def _stop(self) -> None:
        """Leave nothing running, and note what has arrived."""
        for request in list(self._requests):
            self._drop(request)
        self._follower.stop()
        if self._partial.path.exists():
            # On a full disk the journal stays as it was, and claims less than there is.
            with contextlib.suppress(OSError):
                self._save()


def git_digest(path: Path, size: int) -> str:
    """Return the digest that git has for a file: of its kind and size, and then its bytes."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()
