"""What a hub says of a repository, checked: everything here came from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from audition.errors import AuditionError
from audition.models.hub_name import is_repository
from audition.models.spec import Licence
from audition.store.hub.licences import hub_licence
from audition.text import one_line

MAX_FILES = 20_000
MAX_FILE_BYTES = 10 * 2**40
_MAX_PATH = 400
_MAX_TAGS = 300
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file in a repository.

    Attributes:
        path: Inside the repository, with `/`; it never leads out of it.
        size: Bytes.
        sha256: Of the content, where the file is a large one (LFS); None for small ones.
        git_sha1: Of a small file: the name that git gives the content.
    """

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None

    @property
    def folder(self) -> str:
        """The path of its folder; empty for the repository's own."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name inside that folder."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Repository:
    """A model repository at one commit. None is what the hub does not tell.

    Attributes:
        name: `owner/repo`, as the hub has it now (it may have been renamed).
        commit: 40 hex digits; every file is taken from it.
        revision: What was asked for; None is the default branch.
        gated: Whether its terms have to be accepted on its page before a download.
        downloads: In the last 30 days.
        last_modified: ISO 8601, UTC.
        base_models: The repositories that it was made from.
        parameters: The number of weights.
        context_length: Tokens.
        page: Its address for a person.
    """

    name: str
    commit: str
    files: tuple[RepoFile, ...]
    licence: Licence
    page: str
    revision: str | None = None
    gated: bool | None = None
    private: bool | None = None
    downloads: int | None = None
    likes: int | None = None
    last_modified: str | None = None
    tags: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    parameters: int | None = None
    architecture: str | None = None
    context_length: int | None = None

    def file(self, path: str) -> RepoFile | None:
        """Return the file with this path, or None."""
        return next((file for file in self.files if file.path == path), None)


def checked(info: Any, endpoint: str, revision: str | None) -> Repository:
    """Return a repository from the hub's answer, a `huggingface_hub.ModelInfo`.

    Raises:
        AuditionError: `bad_answer`: what it says of the commit or of a file cannot be.
    """
    name = info.id
    if not isinstance(name, str) or not is_repository(name):
        raise bad_answer(f"a repository's name cannot be {one_line(repr(name), 80)}")
    if not _matches(_COMMIT, info.sha):
        raise bad_answer(f"it names no commit of {name}")
    siblings = info.siblings
    if not isinstance(siblings, list):
        raise bad_answer(f"it lists no files of {name}")
    if len(siblings) > MAX_FILES:
        raise bad_answer(f"{name} has over {MAX_FILES:,} files")
    gguf, safetensors = _object(info.gguf), info.safetensors
    config = _object(info.config)
    tags = tuple(texts(info.tags))[:_MAX_TAGS]
    total = gguf.get("total") if gguf else getattr(safetensors, "total", None)
    return Repository(
        name=name,
        commit=info.sha,
        files=tuple(_file(sibling, name) for sibling in siblings),
        licence=hub_licence(info.card_data, tags),
        page=f"{endpoint}/{name}",
        revision=revision,
        gated=None if info.gated is None else bool(info.gated),
        private=info.private if isinstance(info.private, bool) else None,
        downloads=count(info.downloads, lowest=0),
        likes=count(info.likes, lowest=0),
        last_modified=time_of(info.last_modified),
        tags=tags,
        base_models=_base_models(tags),
        parameters=count(total),
        architecture=_text(gguf.get("architecture")) or _text(config.get("model_type")),
        context_length=count(gguf.get("context_length")),
    )


def bad_answer(why: str) -> AuditionError:
    """Return the error for an answer that no hub gives."""
    return AuditionError(
        f"the hub's answer cannot be used: {why}",
        fix="try again; if it stays, look at HF_ENDPOINT and at what stands between this machine and the hub",
        code="bad_answer",
    )


def count(value: object, *, lowest: int = 1) -> int | None:
    """Return a number that can be one; None for anything else."""
    return value if type(value) is int and lowest <= value < 2**63 else None


def texts(values: object) -> Iterable[str]:
    """Yield what is text in a list, each as one printable line."""
    if isinstance(values, list):
        yield from (one_line(value, 120) for value in values if isinstance(value, str) and value.strip())


def time_of(value: object) -> str | None:
    """Return a time as ISO 8601 in UTC."""
    return value.astimezone(UTC).isoformat(timespec="seconds") if isinstance(value, datetime) else None


def _file(sibling: Any, repository: str) -> RepoFile:
    path, lfs = sibling.rfilename, sibling.lfs
    if not isinstance(path, str) or not _is_inside(path):
        raise bad_answer(f"{repository} lists a file whose path cannot be: {one_line(repr(path), 120)}")
    size = sibling.size if lfs is None else lfs.size
    if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
        raise bad_answer(f"the size of {one_line(path, 120)} in {repository} cannot be {one_line(repr(size), 40)}")
    if lfs is not None:
        if not _matches(_SHA256, lfs.sha256):
            raise bad_answer(f"it gives no SHA-256 of {one_line(path, 120)} in {repository}")
        return RepoFile(path, size, lfs.sha256, None)
    if not _matches(_COMMIT, sibling.blob_id):
        raise bad_answer(f"it gives no digest of {one_line(path, 120)} in {repository}")
    return RepoFile(path, size, None, sibling.blob_id)


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    plain = one_line(path, _MAX_PATH + 1) == path and len(path) <= _MAX_PATH and "\\" not in path
    return plain and all(part and part not in (".", "..") for part in parts) and ":" not in parts[0]


def _base_models(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the repositories in tags such as `base_model:owner/repo` and `base_model:quantized:owner/repo`."""
    named = [tag.rpartition(":")[2] for tag in tags if tag.startswith("base_model:")]
    return tuple(dict.fromkeys(name for name in named if is_repository(name)))


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return one_line(value, 80) or None if isinstance(value, str) else None
