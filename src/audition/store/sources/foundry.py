"""`foundry:name:version`: models of Foundry Local's public catalog, fetched by its own SDK in a child process.

What it downloads is moved into the store, where it is a variant like any other; Foundry Local's own folders are
neither read nor written.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from audition.errors import AuditionError, UsageError
from audition.models.header import ModelFileError
from audition.models.spec import Variant
from audition.store.blobs import StoredFile
from audition.store.foundry.process import SdkProcess, catalog_url, explained, foundry_dir
from audition.store.sources.base import Sink
from audition.store.sources.file import deliver_local
from audition.text import one_line

STALL_TIMEOUT_S = 300.0
"""A download that has not moved for so long is given up; the SDK has tried several times by then."""

_SOURCE = re.compile(r"foundry:([A-Za-z0-9][A-Za-z0-9._-]{0,99}):(\d{1,9})")


class FoundrySource:
    """Foundry Local's catalog."""

    scheme: ClassVar[str] = "foundry"

    def address(self, variant: Variant) -> tuple[str, str]:
        """Name and version."""
        match = _SOURCE.fullmatch(variant.source)
        if match is None:
            raise UsageError(
                f'"{one_line(variant.source)}" is not "foundry:name:version"',
                fix="audition model list --source foundry shows the names",
            )
        return match[1], match[2]

    def fingerprint(self, variant: Variant) -> str | None:
        """None: a version of a model does not change."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Have the SDK download the model, or what is left of it, and move its files into the store."""
        sink.need_space(2 * (variant.size or 0))  # for a moment both copies are there
        folder = self._download(variant, sink)
        if (foundry_dir() / "models").resolve() not in folder.resolve().parents:
            raise AuditionError(f"the SDK put the model elsewhere: {one_line(str(folder))}", code="source_unavailable")
        try:
            yield from deliver_local(folder, variant, sink)
        except ModelFileError:
            shutil.rmtree(folder, ignore_errors=True)  # else the SDK would take it for complete the next time, too
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def _download(self, variant: Variant, sink: Sink) -> Path:
        identifier = ":".join(self.address(variant))
        total = variant.size or 0
        with SdkProcess("download", catalog_url(), id=identifier) as process:
            try:
                while (answer := process.answer(STALL_TIMEOUT_S)) is not None:
                    if "error" in answer:
                        raise _refusal(identifier, answer)
                    if "path" in answer:
                        return Path(answer["path"])
                    sink.progress(variant.id, int(total * answer["percent"] / 100), total or None)
            except TimeoutError as error:
                raise _refusal(identifier, {"error": f"it stalled: {error}", "code": "no_network"}) from error
            raise _refusal(identifier, {"error": process.last_words(), "code": "source_unavailable"})


def _refusal(identifier: str, answer: dict[str, Any]) -> AuditionError:
    why, code = explained(str(answer["error"])), str(answer["code"])
    return AuditionError(
        f"Foundry Local could not download {identifier}: {why}",
        fix="audition model list --source foundry"
        if code == "model_not_found"
        else "check the network and the proxy settings, and try again: what has arrived is kept",
        code=code,
    )
