"""Why a hub could not be asked, as one sentence with a way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from audition.errors import AuditionError, UsageError
from audition.store.hub.repository import bad_answer
from audition.text import one_line

LOG_IN = "set HF_TOKEN, or run `hf auth login`"
_HERE = "models that are downloaded already work without"
_RATE = re.compile(r"\bt\s*=\s*(\d{1,9})")


class Unreachable(Exception):
    """There was no answer; the cause says why."""


class Unusable(Exception):
    """An answer that is not to be used, or none at all.

    Args:
        why: One clause.
        may_pass: Whether another attempt can help.
        status: Of the HTTP answer, if there was one.
        wait_s: For how long the hub asks to be left alone.
    """

    def __init__(
        self, why: str, *, may_pass: bool = False, status: int | None = None, wait_s: float | None = None
    ) -> None:
        super().__init__(why)
        self.may_pass = may_pass
        self.status = status
        self.wait_s = wait_s

    @classmethod
    def answered(cls, response: Any) -> Unusable:
        """Return what an answer of status 429 or 5xx is."""
        status: int = response.status_code
        return cls(f"the hub answers {status}", may_pass=True, status=status, wait_s=_wait_s(response.headers))


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: the error for a person, and whether to try again.

    Attributes:
        wait_s: For how long the hub asks to be left alone.
    """

    error: AuditionError
    may_pass: bool = False
    wait_s: float | None = None


def explained(error: Exception, what: str, endpoint: str) -> Failure:
    """Return what an exception of the hub's client, or of its HTTP client, means.

    Args:
        error: The exception.
        what: What was asked for: a repository's name, or `a search`.
        endpoint: The hub's address.
    """
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, Unreachable) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    hub, page = urlsplit(endpoint).netloc, f"{endpoint}/{what}"
    # The first that fits: a gated repository's error is a kind of one that is not there.
    table: tuple[tuple[type[Exception], Callable[[Any], Failure]], ...] = (
        (Unusable, lambda e: _unusable(e, what, hub)),
        (errors.OfflineModeIsEnabled, lambda _: Failure(offline(what))),
        (errors.GatedRepoError, lambda _: Failure(gated(what, page))),
        (errors.RepositoryNotFoundError, lambda _: Failure(not_found(what, hub))),
        (errors.RevisionNotFoundError, lambda _: Failure(_no_revision(what, page))),
        (errors.DisabledRepoError, lambda _: Failure(_disabled(what, hub, page))),
        (errors.HfHubHTTPError, lambda e: Failure(_refused(e.response.status_code, what, hub))),
        (httpx2.TooManyRedirects, lambda _: Failure(_sent_away(hub))),
        (httpx2.UnsupportedProtocol, lambda _: Failure(_sent_away(hub))),
        (httpx2.InvalidURL, lambda _: Failure(_sent_away(hub))),
        (httpx2.TransportError, lambda e: _unreachable(e, hub)),
        # Whatever else the client raises, it tripped over what it was given.
        (Exception, lambda e: Failure(bad_answer(f"it is not what a hub says of {what} ({type(e).__name__})"))),
    )
    return next(make(error) for kind, make in table if isinstance(error, kind))


def offline(what: str, variable: str = "HF_HUB_OFFLINE") -> AuditionError:
    """Return the error for a hub that is not to be asked."""
    return AuditionError(
        f"{variable} is set, so the hub is not asked for {what}", fix=f"unset it; {_HERE}", code="offline"
    )


def gated(name: str, page: str) -> AuditionError:
    """Return the error for a repository whose terms were not accepted."""
    return AuditionError(
        f"{name} is gated: its publisher asks everybody to accept its terms first",
        fix=f"accept them at {page}, then {LOG_IN}",
        code="gated",
    )


def not_found(name: str, hub: str, hint: str | None = None) -> UsageError:
    """Return the error for a repository that is not there, or is hidden."""
    return UsageError(
        f"{hub} has no {name}, or it is private",
        fix=f"{hint or 'look for it: audition model search TEXT'} (for a private one {LOG_IN})",
        code="model_not_found",
    )


def _unusable(error: Unusable, what: str, hub: str) -> Failure:
    if error.status == 429:
        wait = f" for {error.wait_s:,.0f} s" if error.wait_s else ""
        return Failure(
            AuditionError(
                f"{hub} takes no more requests from here{wait}",
                fix=f"wait; with a token there are more: {LOG_IN}",
                code="rate_limited",
            ),
            may_pass=True,
            wait_s=error.wait_s,
        )
    if error.status is not None or error.may_pass:
        return Failure(
            AuditionError(f"{hub} cannot answer for {what}: {error}", fix="try again later", code="source_unavailable"),
            may_pass=True,
            wait_s=error.wait_s,
        )
    return Failure(bad_answer(str(error)))


def _no_revision(what: str, page: str) -> AuditionError:
    return UsageError(
        f"{what} has no such branch, tag or commit", fix=f"look at {page}/tree/main", code="revision_not_found"
    )


def _disabled(what: str, hub: str, page: str) -> AuditionError:
    return AuditionError(f"{hub} has disabled {what}", fix=f"see {page}", code="source_unavailable")


def _refused(status: int, what: str, hub: str) -> AuditionError:
    if status == 404:
        return not_found(what, hub)
    if status in (401, 403):
        why = "does not accept the token that was sent" if status == 401 else f"does not let this token read {what}"
        return AuditionError(
            f"{hub} {why}", fix=f"{LOG_IN}, with a valid one; public models need none", code="unauthorized"
        )
    return AuditionError(f"{hub} refuses to answer for {what} ({status})", fix="try again", code="source_unavailable")


def _sent_away(hub: str) -> AuditionError:
    return bad_answer(f"{hub} sends its callers elsewhere, and not to any page")


def _unreachable(error: Exception, hub: str) -> Failure:
    import httpx2

    why = "it does not answer" if isinstance(error, httpx2.TimeoutException) else one_line(str(error), 120)
    return Failure(
        AuditionError(
            f"cannot reach {hub}: {why or type(error).__name__}",
            fix=f"check the network and the proxy settings (https_proxy); {_HERE}",
            code="no_network",
        ),
        # Nobody listens there, or there is no such name: the next second does not change that.
        may_pass=not isinstance(error, httpx2.ConnectError),
    )


def _wait_s(headers: Any) -> float | None:
    """Return for how long a hub asks to be left alone: `RateLimit: "api";r=0;t=55`, or `Retry-After: 55`."""
    match = _RATE.search(headers.get("ratelimit", ""))
    after = headers.get("retry-after", "").strip()
    if match is not None:
        return float(match[1])
    return float(after) if after.isdigit() and len(after) < 10 else None
