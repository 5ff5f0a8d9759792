"""The model store: manifests that say which blobs make up an installed variant, and how they got there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from audition.errors import AuditionError, UsageError
from audition.models.folder import GGUF, open_folder
from audition.models.folder_check import refuse_bad
from audition.models.folder_header import read_header
from audition.models.gguf import read_gguf_header, read_gguf_part
from audition.models.header import ModelFileError, ModelHeader
from audition.models.spec import Licence, Variant
from audition.paths import store_dir
from audition.store.blobs import Blobs, Progress, StoredFile, disk_error, no_progress
from audition.store.folders import Folders, folder_digest
from audition.store.installed import Installed
from audition.store.linked import Links, gone_or_changed
from audition.store.manifests import Manifests, key_of
from audition.store.sources import Sink, source_of
from audition.store.sources.file import deliver_local, local_ggufs
from audition.store.transfer.interrupted import told_of_the_other

PARTIAL = "partial-"
"""How the names of files begin that are not verified yet."""
_LOCK_POLL_S = 0.2
_COMMIT = re.compile(r"@([0-9a-f]{40})$")


class Store:
    """The store in one folder (by default the one in the data folder)."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or store_dir()
        self.blobs = Blobs(self.root / "blobs")
        self.folders = Folders(self.root / "folders", self.blobs)
        self.links = Links(self.root / "links", self.blobs)
        self.manifests = Manifests(self.root / "manifests", self.blobs)
        self.partials = self.root / "partials"

    def find(self, variant: Variant) -> Installed | None:
        """Return the installed variant, or None when it is absent, incomplete, or not what is asked for any more.

        The last is so when the source's file has changed, or the catalog promises other bytes than these.
        """
        return self._at_its_address(variant) or self._by_content(variant)

    def _at_its_address(self, variant: Variant) -> Installed | None:
        manifest = self.manifests.path(variant)
        if not manifest.is_file():
            return None
        installed = self.manifests.read(manifest)
        fingerprint = source_of(variant).fingerprint(variant)
        if fingerprint is not None and fingerprint != self.manifests.fingerprint(manifest):
            return None
        promised = {file.sha256 for file in variant.files if file.sha256}
        if not promised <= {file.sha256 for file in installed.files}:
            return None
        if not self._complete(installed):
            return None
        # The same bytes may have been fetched under another name.
        return replace(installed, id=variant.id)

    def _by_content(self, variant: Variant) -> Installed | None:
        """Return what has exactly the files that are asked for, wherever it came from."""
        wanted = {(file.name, file.sha256) for file in variant.files if file.sha256}
        if not wanted or len(wanted) < len(variant.files):
            return None
        if not all(self.blobs.path(sha256).exists() for _, sha256 in wanted):
            return None  # which is soon seen, and the common case
        for entry in self.recorded():
            # Nobody looks at the name of a single file.
            names = {(file.name, file.sha256) for file in entry.files}
            alone = len(entry.files) == len(variant.files) == 1 and variant.format == GGUF
            same = names == wanted or (alone and {sha for _, sha in names} == {sha for _, sha in wanted})
            if entry.format == variant.format and same and self._complete(entry):
                return replace(entry, id=variant.id)
        return None

    def _under_another_name(self, variant: Variant, licence: Licence) -> Installed | None:
        """Return what has the files already, known from now on as what is asked for, too."""
        found = self._by_content(variant)
        # What is in a file of one's own may change, and an import is what it was imported as.
        if found is None or variant.source.startswith(("file:", "import:")):
            return found
        commit = _COMMIT.search(variant.source)
        notes = {"revision": commit[1] if commit else None}
        try:
            return self._publish(variant, found.files, found.header, licence, None, notes=notes)
        except OSError:  # a store that can only be read serves as well; the terms are still this source's
            return replace(found, licence=licence.beside(found.header.stated_licence))

    def installed(self) -> list[Installed]:
        """Return every installed variant, by id; `troubles` says what could not be among them."""
        return [entry for entry in self.recorded() if self._complete(entry)]

    def recorded(self) -> list[Installed]:
        """Return what every manifest that can be read is about, by id, whether its files are still here or not."""
        return self.manifests.readable()

    def damaged(self) -> list[AuditionError]:
        """Return one error for each manifest that cannot be read."""
        return self.manifests.damaged()

    def troubles(self) -> list[AuditionError]:
        """Return why variants that were installed cannot be used: a damaged manifest, a changed original."""
        broken = [error for entry in self.recorded() if (error := self.broken_link(entry)) is not None]
        return [*self.damaged(), *broken]

    def broken_link(self, installed: Installed) -> AuditionError | None:
        """Return the error for a variant that is linked to what has changed or is gone; None when all is as it was."""
        for name, link in installed.links.items():
            digest = next(file.sha256 for file in installed.files if file.name == name)
            trouble = self.links.trouble(digest)
            if trouble is not None:
                return gone_or_changed(installed.id, link, trouble)
        return None

    def ensure(self, variant: Variant, licence: Licence, progress: Progress = no_progress) -> Installed:
        """Return the installed variant, fetching and verifying its files when they are not here.

        A second process that wants the same variant waits for the first.

        Raises:
            AuditionError: The source cannot be reached, the bytes are not those promised, the disk is full, or the
                file is not a model that can be read.
        """
        installed = self._at_its_address(variant) or self._under_another_name(variant, licence)
        if installed is not None:
            return installed
        source = source_of(variant)
        with self._locked(variant, progress):
            installed = self.find(variant)
            if installed is not None:
                return installed
            self._drop_broken_links(variant)
            # Taken before the first byte is: an edit in the middle of the copy has to be noticed later.
            fingerprint = source.fingerprint(variant)
            files, notes = self._fetch(variant, partial(source.fetch, variant), progress)
            return self._publish(variant, files, self._header(variant, files), licence, fingerprint, notes=notes)

    def add(
        self,
        variant: Variant,
        path: Path,
        licence: Licence,
        progress: Progress = no_progress,
        *,
        provenance: dict[str, Any],
        parameters: int | None = None,
        link: bool = False,
        promised: Mapping[str, str] | None = None,
    ) -> Installed:
        """Take a file or folder of this machine into the store as a variant whose source is the store itself.

        Args:
            variant: What it shall be; its source is an `import:`.
            path: The file or folder.
            licence: Its terms.
            progress: Told of the copying.
            provenance: How it came to be.
            parameters: How many it has, where its own files do not tell.
            link: Link the files in place instead of copying them.
            promised: To link: the digests that another program has of the files, by name.

        Raises:
            UsageError: There is another one of that name.
            AuditionError: It is no model, or the disk is full.
        """
        with self._locked(variant, progress):
            before = self.find(variant)
            self._drop_broken_links()
            if link:
                files = self._link(variant, path, promised or {}, progress)
            else:
                files, _ = self._fetch(variant, partial(deliver_local, path, variant), progress)
            if before is not None:
                if before.files == files:
                    return before
                self._drop(files)
                raise taken(before.id)
            header = self._header(variant, files)
            header = replace(header, parameters=header.parameters or parameters)
            return self._publish(variant, files, header, licence, None, provenance)

    def verify(self, installed: Installed, progress: Progress = no_progress) -> list[str]:
        """Hash an installed variant's files again; return one sentence per file that is not what it was."""
        problems = []
        for file in installed.files:
            if not self.blobs.path(file.sha256).is_file():
                problems.append(f"{file.name} is missing")
                continue
            actual = self.blobs.digest(file.sha256, file.name, progress)
            if actual != file.sha256:
                problems.append(f"{file.name} has changed on the disk: its SHA-256 is {actual}, not {file.sha256}")
        if installed.is_folder and not problems and self._complete(installed):
            problems += self.folders.verify(installed.files)
        return problems

    def remove(self, installed: Installed) -> int:
        """Remove a variant and the blobs that no other variant uses; return the bytes freed."""
        self.manifests.all()  # nothing goes while it is unknown what a damaged one needs
        try:
            installed.manifest.unlink(missing_ok=True)
            return self._drop(installed.files)
        except OSError as error:
            raise disk_error(error, self.root) from error

    def leftovers(self) -> list[Path]:
        """Return what interrupted transfers left behind, and files that no manifest names.

        While a manifest cannot be read it is unknown what it needs, so then only the former.
        """
        recorded, damaged = self.recorded(), self.damaged()
        known = {self.blobs.path(file.sha256) for entry in recorded for file in entry.files}
        folders = {entry.assembled for entry in recorded if entry.is_folder}
        loose = [path for path in self.blobs.root.glob("*") if path not in known]
        stray = [path for path in self.folders.root.glob("*/*") if path.parent not in folders]
        if damaged:
            loose = [path for path in loose if path.name.startswith(PARTIAL)]
            stray = [path for path in stray if path.parent.name.startswith(PARTIAL)]
        return sorted([*loose, *stray, *(path for path in (self.root / "staging").rglob("*") if path.is_file())])

    def _complete(self, installed: Installed) -> bool:
        """A file under its final name was verified when it got it; here only a missing or cut one is noticed."""
        for file in installed.files:
            path = self.blobs.path(file.sha256)
            if not path.is_file() or path.stat().st_size != file.size or self.links.trouble(file.sha256):
                return False
        if installed.is_folder:
            try:
                self.folders.assemble(installed.files)
            except OSError as error:
                raise disk_error(error, self.root) from error
        return True

    def _fetch(
        self, variant: Variant, fetch: Callable[[Sink], Iterable[StoredFile]], progress: Progress
    ) -> tuple[tuple[StoredFile, ...], dict[str, Any]]:
        """Fetch and store a variant's files, and return what the source noted meanwhile; its lock is held."""
        check = _check_gguf if variant.format == GGUF else _check_nothing
        key = key_of(variant)
        sink = Sink(self.blobs, check, progress, self.root / "staging" / key, self.partials / key, variant)
        with sink.staged():
            files = tuple(fetch(sink))
        # What an earlier revision may have left there is of no use any more.
        shutil.rmtree(sink.partials, ignore_errors=True)
        return files, sink.notes

    def _link(
        self, variant: Variant, path: Path, promised: Mapping[str, str], progress: Progress
    ) -> tuple[StoredFile, ...]:
        """Link a variant's files in place; its lock is held."""
        if variant.format == GGUF:
            sources, check = local_ggufs(path, variant), _check_gguf
        else:
            refuse_bad(path, variant.format)
            folder = open_folder(path, variant.format)
            sources, check = {name: path / name for name in folder.files}, _check_nothing
        only_hard = variant.format != GGUF or len(sources) > 1  # a folder is made of them
        files: list[StoredFile] = []
        try:
            for name, original in sources.items():
                told = promised.get(name)
                files.append(
                    self.links.make(name, original, promised=told, check=check, progress=progress, only_hard=only_hard)
                )
        except BaseException:
            self._drop(tuple(files))
            raise
        return tuple(files)

    def _drop_broken_links(self, wanted: Variant | None = None) -> None:
        """Take the final name from linked files that are not what it says any more, so that nothing trusts them.

        Raises:
            AuditionError: The variant that is wanted is one of them, and there is no other place to have it from.
        """
        if wanted is not None and wanted.source.startswith("import:") and self.manifests.path(wanted).is_file():
            error = self.broken_link(self.manifests.read(self.manifests.path(wanted)))
            if error is not None:
                raise error
        broken = {sha256 for sha256, _ in self.links.records() if self.links.trouble(sha256)}
        # One whose blob is not there is another process's that is just being linked.
        broken = {sha256 for sha256 in broken if os.path.lexists(self.blobs.path(sha256))}
        for entry in self.recorded() if broken else []:
            if broken & {file.sha256 for file in entry.files}:
                self.folders.remove(entry.files)
        for sha256 in broken:
            self.blobs.path(sha256).unlink(missing_ok=True)

    def _header(self, variant: Variant, files: tuple[StoredFile, ...]) -> ModelHeader:
        """Return what the stored files state; those of a folder are put together first, and looked at as a whole."""
        try:
            if variant.format == GGUF and len(files) == 1:
                return read_gguf_header(self.blobs.path(files[0].sha256))
            folder = self.folders.assemble(files)
            if variant.format == GGUF:
                return read_gguf_header(folder / min(file.name for file in files))
            refuse_bad(folder, variant.format)
            return read_header(folder, variant.format)
        except ValueError as error:
            self._drop(files)
            raise ModelFileError(
                f"{variant.id} cannot be stored: {error}", fix="fetch the whole folder again"
            ) from error
        except BaseException:
            self._drop(files)
            raise

    def _drop(self, files: tuple[StoredFile, ...]) -> int:
        """Remove the blobs, and the folder of them, that no manifest needs; return the bytes freed."""
        others = self.manifests.all()
        kept = {file.sha256 for other in others for file in other.files}
        if folder_digest(files) not in {other.digest for other in others}:
            self.folders.remove(files)
        freed = 0
        for file in files:
            path = self.blobs.path(file.sha256)
            if file.sha256 in kept or not (path.exists() or path.is_symlink()):
                continue
            freed += 0 if path.is_symlink() or path.stat().st_nlink > 1 else file.size
            path.unlink()
            self.links.forget(file.sha256)
        return freed

    def _publish(
        self,
        variant: Variant,
        files: tuple[StoredFile, ...],
        header: ModelHeader,
        licence: Licence,
        fingerprint: str | None,
        provenance: dict[str, Any] | None = None,
        notes: dict[str, Any] | None = None,
    ) -> Installed:
        notes = notes or {}
        its_own = header.stated_licence
        licence = licence.beside(notes.get("licence", its_own)).beside(its_own)
        return self.manifests.write(
            variant,
            files,
            header,
            licence,
            fingerprint=fingerprint,
            provenance=provenance,
            revision=notes.get("revision"),
        )

    @contextmanager
    def _locked(self, variant: Variant, progress: Progress) -> Iterator[None]:
        """Hold the variant's lock; whatever the disk refuses meanwhile becomes an error for a person."""
        from filelock import FileLock

        folder, key = self.root / "locks", key_of(variant)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{key}.lock")
            with told_of_the_other(self.partials, key, variant.id, progress):
                lock.acquire(poll_interval=_LOCK_POLL_S)
            try:
                yield
            finally:
                lock.release()
        except OSError as error:
            raise disk_error(error, self.root) from error


def taken(name: str) -> UsageError:
    """Return the error for a name under which something else is in the store."""
    return UsageError(
        f"there is another model called {name} in the store",
        fix=f"give it another name with --name, or remove that one: audition model rm {name}",
        code="name_taken",
    )


def _check_gguf(path: Path) -> None:
    read_gguf_part(path)


def _check_nothing(path: Path) -> None:
    """A folder is looked at as a whole."""
