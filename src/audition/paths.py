"""Where the program keeps things: one data folder, `AUDITION_HOME` or the platform's own place for data."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

from audition.errors import UsageError


def home() -> Path:
    """Return the data folder; it need not exist yet.

    `AUDITION_HOME` wins; otherwise the platform's user data folder. Models are data, not cache: cache cleaners
    delete caches, and nobody wants a 4 GB download deleted.
    """
    override = os.environ.get("AUDITION_HOME")
    if override:
        return expanded(override).absolute()
    from platformdirs import user_data_path

    return user_data_path("audition", appauthor=False)


def expanded(path: str) -> Path:
    """Return a path that a person wrote, with the home folder in the place of `~`.

    Raises:
        UsageError: It begins with `~name`, and there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: no such home folder is known", fix="write the path out in full") from error


def store_dir() -> Path:
    """Return the folder of the model store."""
    return home() / "store"


def runs_dir() -> Path:
    """Return the folder that runs go to when no output directory is named."""
    return home() / "runs"


def logs_dir() -> Path:
    """Return the folder for what engines print outside a run, made if need be.

    A data folder that only administrators write to must not keep others from using the models in it: there the logs
    go to a new folder among the temporary files, one for this process.
    """
    folder = home() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return _temporary_logs()
    return folder


@cache
def _temporary_logs() -> Path:
    return Path(tempfile.mkdtemp(prefix="audition-logs-"))


def user_models_file() -> Path:
    """Return the person's own catalog, which adds to the built-in one and overrides it."""
    return home() / "models.json"
