"""Weights that only a person's own engine reads: what is hashed, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audition.errors import UsageError
from audition.models.spec import ANY, OWN, Licence, Variant
from audition.store.own import own_weights

NONE = Licence.named(None, source="models.json")


def variant(path: Path | str) -> Variant:
    return Variant("mine", ANY, None, f"{OWN}:{path}")


def refusal(path: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        own_weights(variant(path), NONE)
    assert caught.value.fix
    return caught.value.message


def test_every_file_of_a_folder_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"22")
    (tmp_path / "a").write_bytes(b"1")
    assert [(file.name, file.size) for file in own_weights(variant(tmp_path), NONE).files] == [("a", 1), ("sub/b", 2)]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file that never ends")
def test_a_device_is_not_read(tmp_path: Path) -> None:
    assert refusal("/dev/zero").endswith("zero is not a regular file")
    (tmp_path / "weights").symlink_to("/dev/zero")
    assert refusal(tmp_path / "weights").endswith("weights is not a regular file")
    assert refusal(tmp_path).endswith("weights is not a regular file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").endswith("pipe is not a regular file")
    assert refusal(tmp_path).endswith("pipe is not a regular file")


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights there")
def test_links_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path / "loop").endswith("loop: a link in a circle")
    assert refusal(tmp_path).endswith("loop: a link in a circle")
    (tmp_path / "loop").unlink()
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert refusal(tmp_path).endswith("gone: No such file or directory")
