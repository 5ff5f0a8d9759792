"""The errors a person may meet: one sentence with the cause, and the fix.

Exit codes (the same for every command): 0 ok, 1 failed, 2 usage, 3 gate not met, 130 interrupted.
"""

from __future__ import annotations


class AuditionError(Exception):
    """Something failed that a person can understand and mend.

    Args:
        message: One sentence that names the cause, without a final line break.
        fix: What to do about it, as a command or an instruction; shown on its own line.
        code: A stable word for machines, such as `model_not_found`; it is what run files record.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str | None = None, code: str = "failed") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.code = code


class UsageError(AuditionError):
    """The request itself is wrong: an unknown name, a bad file, options that do not go together."""

    exit_code = 2


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str | None:
    """Return the sentence part that names what `name` may have been meant to be, or None.

    Examples:
        >>> nearest("smolm2-135m", ["smollm2-135m", "gemma-3-270m"])
        'did you mean "smollm2-135m"?'
    """
    import difflib

    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.5)
    if not close:
        return None
    return "did you mean " + " or ".join(f'"{by_folded[match]}"' for match in close) + "?"


def bound(number: float) -> str:
    """Return a limit as people write it.

    Examples:
        >>> bound(1e6), bound(0.001)
        ('1,000,000', '0.001')
    """
    return f"{int(number):,}" if number == int(number) else f"{number:g}"
