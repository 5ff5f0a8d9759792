"""Names of models on a hub: `owner/repo[:VARIANT][@revision]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from audition.errors import UsageError
from audition.text import one_line

PREFIX = "hf:"

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_PATH = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+/-]{0,198}[A-Za-z0-9_+])?")


@dataclass(frozen=True, slots=True)
class HubName:
    """What a name on a hub says.

    Attributes:
        repository: `owner/repo`.
        variant: Which of its models: a quantization such as `Q4_K_M`, a folder, a file's name or a format; None takes
            the default.
        revision: A branch, a tag, a commit or a reference such as `refs/pr/1`; None takes the default branch.
    """

    repository: str
    variant: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        variant = f":{self.variant}" if self.variant else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repository}{variant}{revision}"


def is_hub_name(name: str) -> bool:
    """Return whether a model's name is meant for a hub."""
    return name.startswith(PREFIX)


def is_repository(name: str) -> bool:
    """Return whether `name` can be a repository's: `owner/repo`, without anything that leads elsewhere."""
    return _REPOSITORY.fullmatch(name) is not None and "--" not in name and ".." not in name and len(name) <= 120


def parse_hub_name(name: str) -> HubName:
    """Return what `hf:owner/repo[:VARIANT][@revision]` says.

    Raises:
        UsageError: It is no such name.
    """
    before, at, revision = name.removeprefix(PREFIX).partition("@")
    repository, colon, variant = before.partition(":")
    wrong = None
    if not is_repository(repository):
        wrong = f'"{one_line(repository, 80)}" is no repository'
    elif colon and not is_path(variant):
        wrong = f'"{one_line(variant, 80)}" names no quantization, folder or file'
    elif at and not is_path(revision):
        wrong = f'"{one_line(revision, 80)}" is no branch, tag or commit'
    if wrong is not None:
        raise UsageError(
            f"{one_line(name, 120)}: {wrong}", fix="write hf:owner/repo, hf:owner/repo:Q4_K_M or hf:owner/repo@revision"
        )
    return HubName(repository, variant or None, revision or None)


def is_path(text: str) -> bool:
    """Return whether a text can stand for a variant or a revision in a name."""
    return _PATH.fullmatch(text) is not None and ".." not in text and "//" not in text
