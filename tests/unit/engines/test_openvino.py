"""OpenVINO without a model: what it is kept from doing, and what a file without a name gets."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from audition.engines.openvino import _with_suffix

NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino_genai") is None, reason="openvino-genai is not installed"
)


@NEEDS_OPENVINO
def test_its_telemetry_is_never_imported() -> None:
    program = """
import sys
from audition.engines.openvino import OpenVINO
OpenVINO().describe()
print(sys.modules["openvino_telemetry"], [name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "None []"


def test_a_file_gets_the_suffix_that_openvino_wants(tmp_path: Path) -> None:
    blob = tmp_path / "sha256-0123"
    blob.write_bytes(b"weights")
    folder = tmp_path / "names"
    folder.mkdir()
    named = _with_suffix(blob, folder)
    assert named.suffix == ".gguf"
    assert named.parent == folder
    assert named.read_bytes() == b"weights"


def test_a_file_that_has_it_stays_where_it_is(tmp_path: Path) -> None:
    assert _with_suffix(tmp_path / "model.gguf", tmp_path / "names") == tmp_path / "model.gguf"


def test_where_no_symbolic_link_can_be_made_it_is_a_hard_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("a privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refused)
    blob = tmp_path / "sha256-0123"
    blob.write_bytes(b"weights")
    folder = tmp_path / "names"
    folder.mkdir()
    assert _with_suffix(blob, folder).samefile(blob)
