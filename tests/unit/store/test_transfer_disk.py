"""Downloads onto a disk that is full, or may not be written to."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from contextlib import contextmanager

import pytest

from audition.errors import AuditionError
from audition.models.spec import VariantFile
from audition.store.transfer import partial as partial_module
from audition.store.transfer.download import KEPT
from downloads import DATA, HALF, PATH, fetch, left, promised, refusal, where
from file_server import Fault

CUT = Fault(cut=HALF)


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("known", [True, False])
def test_a_disk_that_is_too_full_is_told_before_anything_is_fetched(sink, server, monkeypatch, known):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 500_000))
    error = refusal(sink, server, None if known else VariantFile("model.gguf"))
    assert error.code == "disk_full"
    assert "0.7 MB are needed" in error.message
    assert left(sink) == 0


def test_only_what_is_missing_has_to_fit(sink, server, monkeypatch):
    server.fail(PATH, CUT)
    server.fail_always(PATH, Fault(status=503))
    refusal(sink, server)
    server.fail_always(PATH, Fault())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, len(DATA) - HALF))
    sink.need_space_for([promised(DATA)], lambda file: where(server))
    with pytest.raises(AuditionError, match="MB are free"):
        sink.need_space_for([promised(DATA), VariantFile("more", 1)], lambda file: where(server))
    fetch(sink, server)


def full_after(count, monkeypatch):
    """Have the disk be full after so many bytes of partial files; return what makes room again."""

    class Full:
        def __init__(self, stream):
            self._stream = stream

        def __getattr__(self, name):
            return getattr(self._stream, name)

        def write(self, data):
            here = self._stream.tell()
            if here >= count:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._stream.write(data[: count - here])

    class FullPartial(partial_module.Partial):
        def writer(self):
            @contextmanager
            def opened():
                with super(FullPartial, self).writer() as stream:
                    yield Full(stream)

            return opened()

    with monkeypatch.context() as patch:
        patch.setattr(partial_module, "Partial", FullPartial)
        yield


def test_a_disk_that_fills_up_is_told_so_and_what_is_there_is_kept(sink, server, monkeypatch):
    for _ in full_after(400_000, monkeypatch):
        error = refusal(sink, server)
    assert error.code == "disk_full"
    assert error.fix.endswith(KEPT)
    kept = left(sink)
    assert 300_000 <= kept <= 400_000
    fetch(sink, server)
    assert server.requests[-1].range == (kept, None)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told_so(sink, server):
    root = sink.blobs.root.parent
    root.chmod(0o500)
    try:
        assert refusal(sink, server).code == "not_writable"
    finally:
        root.chmod(0o700)


def test_a_disk_that_may_only_be_read_is_told_so(sink, server, monkeypatch):
    def refuse(self, *arguments, **keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(type(sink.partials), "mkdir", refuse)
    assert refusal(sink, server).code == "not_writable"
    assert server.requests == []
