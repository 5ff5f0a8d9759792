"""Ask a hub for one repository."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from audition.errors import AuditionError, nearest
from audition.store.hub import client
from audition.store.hub.failures import not_found
from audition.store.hub.repository import Repository, checked

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FRESH_S = 30.0
_MOST_KEPT = 200
_answers: dict[tuple[str, str | None, str, str | None], tuple[Repository, float]] = {}


def look_up(name: str, revision: str | None = None) -> Repository:
    """Return what the hub says of a repository at one commit; nothing is downloaded.

    For half a minute the same question gets the same answer, so that what is shown before a download is what is
    fetched then.

    Args:
        name: `owner/repo`.
        revision: A branch, tag, commit or reference; None is the default branch.

    Raises:
        UsageError: There is no such repository or revision; the nearest of the owner's names is given.
        AuditionError: The hub cannot be asked, refuses, or answers what cannot be.
    """
    client.refuse_offline(name)
    question = (client.endpoint(), client.token(), name, revision)
    told, when = _answers.get(question, (None, 0.0))
    if told is not None and time.monotonic() - when < FRESH_S:
        return told
    try:
        repository = client.ask(lambda api: _asked(api, name, revision), name)
    except AuditionError as error:
        if error.code != "model_not_found":
            raise
        raise _with_nearest(name) or error from error
    if len(_answers) >= _MOST_KEPT:
        _answers.clear()
    _answers[question] = repository, time.monotonic()
    return repository


def _asked(api: HfApi, name: str, revision: str | None) -> Repository:
    info = api.model_info(name, revision=revision, files_metadata=True)
    return checked(info, client.endpoint(), revision)


def _with_nearest(name: str) -> AuditionError | None:
    """Return the error that names what was perhaps meant; None when the hub has no such owner, or does not say."""
    owner = name.partition("/")[0]
    try:
        names = client.ask(lambda api: [info.id for info in api.list_models(author=owner, limit=100)], owner)
    except AuditionError:
        return None
    hint = nearest(name, [known for known in names if isinstance(known, str)])
    return not_found(name, client.host(), hint) if hint else None
