"""What goes wrong with one request, and how often it is tried again."""

from __future__ import annotations

import random

from audition.store.transfer.settings import Settings


class Fault(Exception):
    """A request that did not bring what it should.

    Args:
        why: A part of a sentence, such as "it answers 503".
        code: A stable word for machines.
        fix: What a person can do about it.
        lasting: Whether another try would only bring the same.
        tries: How many tries it is worth; None leaves that to the settings.
        after_s: How long the server asks to wait.
        start_over: Whether what has arrived is of no use: only the whole file, asked for without a range, may help.
    """

    def __init__(
        self,
        why: str,
        *,
        code: str = "source_unavailable",
        fix: str = "try again later",
        lasting: bool = False,
        tries: int | None = None,
        after_s: float | None = None,
        start_over: bool = False,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.code = code
        self.fix = fix
        self.lasting = lasting
        self.tries = tries
        self.after_s = after_s
        self.start_over = start_over


class Tries:
    """Counts the requests that failed in a row, and says how long to wait before the next one."""

    def __init__(self, settings: Settings, jitter: random.Random | None = None) -> None:
        self._settings = settings
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries; nothing secret
        self._failed = 0
        self._dear = 0
        self._began = False

    def wait_after(self, fault: Fault, *, went_on: bool) -> float:
        """Return the seconds to wait before the next request.

        Args:
            fault: What went wrong.
            went_on: Whether much had arrived before: the count begins anew then, and more tries are allowed.

        Raises:
            Fault: The same one, when there is to be no next request.
        """
        settings = self._settings
        if went_on:
            self._failed = self._dear = 0
            self._began = True
        else:
            self._failed += 1
        self._dear += fault.tries is not None
        spent = self._failed >= (settings.tries if self._began else settings.first_tries)
        if fault.tries is not None and self._dear >= fault.tries:
            spent = True
        if fault.lasting or spent or (fault.after_s or 0) > settings.longest_retry_after_s:
            raise fault
        if fault.after_s is not None:
            return fault.after_s
        longest: float = min(settings.longest_wait_s, settings.first_wait_s * 2 ** max(0, self._failed - 1))
        return longest * self._jitter.uniform(0.5, 1)
