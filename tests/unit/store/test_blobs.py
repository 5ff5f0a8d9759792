"""Files by content: a blob has its final name only once its bytes are proven."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from audition.errors import AuditionError
from audition.store import blobs as blobs_module
from audition.store.blobs import CHUNK, Blobs, StoredFile, disk_error, need_space, read_chunks

CONTENT = b"weights" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "store" / "blobs")


def accept(path):
    pass


def write(blobs, chunks=(CONTENT,), *, size=None, sha256=None, check=accept, **others):
    return blobs.write("tiny.gguf", chunks, size=size, sha256=sha256, check=check, **others)


def refusal(blobs, **arguments):
    """Return the error, after a look at the folder: nothing is in it, whole or partial."""
    with pytest.raises(AuditionError) as caught:
        write(blobs, **arguments)
    assert list(blobs.root.iterdir()) == []
    return caught.value


# Content addressing.


def test_a_file_is_stored_under_the_digest_of_its_bytes(blobs):
    stored = write(blobs, [CONTENT[:10], b"", CONTENT[10:]], size=len(CONTENT), sha256=DIGEST)
    assert stored == StoredFile("tiny.gguf", len(CONTENT), DIGEST)
    assert blobs.path(DIGEST).name == f"sha256-{DIGEST}"
    assert blobs.path(DIGEST).read_bytes() == CONTENT
    assert list(blobs.root.iterdir()) == [blobs.path(DIGEST)]


def test_size_and_digest_need_not_be_known(blobs):
    assert write(blobs) == StoredFile("tiny.gguf", len(CONTENT), DIGEST)


def test_the_same_bytes_are_kept_once_whatever_their_name(blobs):
    write(blobs)
    blobs.write("other.gguf", [CONTENT], size=None, sha256=None, check=accept)
    assert len(list(blobs.root.iterdir())) == 1


def test_an_empty_file_is_a_file(blobs):
    assert write(blobs, []).size == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_others_may_read_a_blob(blobs):
    write(blobs)
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o644


def test_progress_is_told_in_bytes(blobs):
    told = []
    write(blobs, [b"ab", b"cde"], size=5, progress=lambda *arguments: told.append(arguments))
    write(blobs, [b"x"], progress=lambda *arguments: told.append(arguments))
    assert told == [("tiny.gguf", 2, 5), ("tiny.gguf", 5, 5), ("tiny.gguf", 1, None)]


# Proof before the name.


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_wrong_size_is_refused(blobs, size):
    error = refusal(blobs, size=size, sha256=DIGEST)
    assert error.code == "digest_mismatch"
    assert f"its size is {len(CONTENT)}, not {size}" in error.message
    assert "tiny.gguf" in error.message
    assert error.fix


@pytest.mark.parametrize("content", [b"W" + CONTENT[1:], CONTENT[:-1] + b"S"], ids=["first byte", "last byte"])
def test_a_wrong_digest_is_refused(blobs, content):
    error = refusal(blobs, chunks=[content], size=len(CONTENT), sha256=DIGEST)
    assert error.code == "digest_mismatch"
    assert DIGEST in error.message
    assert hashlib.sha256(content).hexdigest() in error.message


def test_a_source_that_never_ends_is_cut_off_at_the_promised_size(blobs):
    taken = []

    def endless():
        while len(taken) < 1000:
            taken.append(1)
            yield b"x" * 100

    assert refusal(blobs, chunks=endless(), size=250).code == "digest_mismatch"
    assert len(taken) == 3


def test_the_check_sees_the_whole_file_under_a_partial_name_only(blobs):
    seen = []

    def check(path):
        assert path.read_bytes() == CONTENT
        assert path.name.startswith("partial-")
        assert list(blobs.root.iterdir()) == [path]
        assert not blobs.path(DIGEST).exists()
        seen.append(path)

    write(blobs, sha256=DIGEST, check=check)
    assert len(seen) == 1
    assert not seen[0].exists()
    assert blobs.path(DIGEST).exists()


def test_what_the_check_refuses_is_not_kept(blobs):
    def check(path):
        raise AuditionError("not a model", code="bad_model_file")

    assert refusal(blobs, check=check).code == "bad_model_file"


def test_what_is_not_the_promised_file_is_not_even_looked_into(blobs):
    looked = []
    refusal(blobs, sha256="0" * 64, check=looked.append)
    refusal(blobs, size=1, check=looked.append)
    assert looked == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("x")], ids=["interrupt", "fault"])
def test_an_interrupted_transfer_leaves_nothing(blobs, failure):
    def chunks():
        yield CONTENT
        assert [path.name.startswith("partial-") for path in blobs.root.iterdir()] == [True]
        raise failure

    with pytest.raises(type(failure)):
        write(blobs, chunks())
    assert list(blobs.root.iterdir()) == []


def test_a_failed_transfer_leaves_an_older_blob_alone(blobs):
    write(blobs)
    with pytest.raises(AuditionError):
        write(blobs, [CONTENT + b"more"], size=len(CONTENT), sha256=DIGEST)
    assert blobs.path(DIGEST).read_bytes() == CONTENT
    assert len(list(blobs.root.iterdir())) == 1


# Digests as names.


@pytest.mark.parametrize(
    "digest",
    ["", "../../etc/passwd", "/etc/passwd", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "../" + "a" * 61],
)
def test_a_digest_that_is_none_is_refused_before_it_is_a_path(blobs, digest):
    with pytest.raises(AuditionError, match="not a SHA-256 digest") as caught:
        blobs.path(digest)
    assert caught.value.code == "bad_manifest"


def test_the_digest_of_what_the_blob_holds_now(blobs):
    write(blobs)
    assert blobs.digest(DIGEST, "tiny.gguf") == DIGEST
    blobs.path(DIGEST).write_bytes(b"changed")
    assert blobs.digest(DIGEST, "tiny.gguf") == hashlib.sha256(b"changed").hexdigest()


def test_files_are_read_a_megabyte_at_a_time(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * (CHUNK + 1))
    assert [len(chunk) for chunk in read_chunks(tmp_path / "big")] == [CHUNK, 1]


# The disk.

Usage = namedtuple("Usage", "total used free")


def test_too_little_space_is_told_with_both_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 3_000_000))
    with pytest.raises(AuditionError, match=r"4 MB are needed .*, 3 MB are free") as caught:
        need_space(tmp_path / "store", 4_000_000)
    assert caught.value.code == "disk_full"
    assert "AUDITION_HOME" in caught.value.fix
    need_space(tmp_path / "store", 3_000_000)


def test_the_space_of_a_folder_that_is_not_there_is_that_of_its_parent(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(1, 0, 1))
    need_space(tmp_path / "a" / "b" / "c", 1)
    assert asked == [tmp_path]


def test_a_disk_that_fills_up_during_the_transfer_is_told_so(blobs):
    def chunks():
        yield CONTENT
        raise OSError(errno.ENOSPC, "No space left on device")

    error = refusal(blobs, chunks=chunks())
    assert error.code == "disk_full"
    assert str(blobs.root) in error.message
    assert error.fix


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_really_full_is_told_so(blobs, monkeypatch):
    def on_a_full_disk(prefix, dir):
        return os.open("/dev/full", os.O_WRONLY), str(dir / f"{prefix}x")

    monkeypatch.setattr(blobs_module.tempfile, "mkstemp", on_a_full_disk)
    assert refusal(blobs).code == "disk_full"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "not_writable"),
        (errno.EPERM, "not_writable"),
        (errno.EROFS, "not_writable"),
        (errno.EIO, "disk_error"),
    ],
)
def test_a_failed_write_is_told_by_its_cause_and_its_folder(number, code):
    error = disk_error(OSError(number, os.strerror(number)), Path("/data/store"))
    assert error.code == code
    assert "/data/store" in error.message.replace("\\", "/")
