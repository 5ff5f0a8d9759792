"""`audition model import`, as a person uses it; nothing is converted here."""

from __future__ import annotations

import json

import pytest

import folders
import ggufs
from cli import audition
from folders import FOLDERS, hf_folder, onnx_folder


@pytest.mark.parametrize("format_", FOLDERS)
def test_a_folder_is_imported_and_known_by_its_name(home, tmp_path, format_):
    folder = FOLDERS[format_](tmp_path / "My model")
    done = audition("model", "import", folder, "--licence", "MIT")
    assert done.returncode == 0, done.stderr
    name = done.stdout.split(" ")[0]
    assert name.startswith("my-model:")
    assert "licence MIT (permissive)" in done.stdout
    (row,) = json.loads(audition("model", "list", "--downloaded", "--json").stdout)
    assert (row["id"], row["format"], row["licence"], row["downloaded"]) == (name, format_, "MIT", True)
    assert row["provenance"] == {"imported_from": str(folder)}
    assert format_ in audition("model", "list", "--downloaded").stdout
    assert f"{name} is intact" in audition("model", "verify", "my-model").stdout
    cached = json.loads(audition("cache", "list", "--json").stdout)
    assert {file["name"] for file in cached["files"]} == {path.name for path in folder.iterdir()}
    assert cached["leftovers"] == []
    assert "removed" in audition("model", "rm", name).stdout
    assert json.loads(audition("model", "list", "--downloaded", "--json").stdout) == []


def test_a_file_gets_the_name_that_a_person_chooses(home, tmp_path):
    model = ggufs.write_gguf(tmp_path / "x.gguf")
    assert audition("model", "import", model, "--name", "tiny:best").stdout.startswith(
        "tiny:best is in the store: gguf"
    )
    assert audition("model", "import", model, "--name", "tiny:best").returncode == 0, "the same again"
    other = ggufs.write_gguf(tmp_path / "y.gguf", metadata=ggufs.tiny_metadata(general__name="Other"))
    refused = audition("model", "import", other, "--name", "tiny:best")
    assert refused.returncode == 2
    assert "another model called tiny:best" in refused.stderr


def test_two_formats_of_one_quantisation_get_two_names(home, tmp_path):
    f32 = folders.safetensors(("a", "F32", [16], 64))
    hf = hf_folder(tmp_path / "hf" / "m", **{"model.safetensors": f32})
    graph = folders.graph([], [folders.tensor("a", [16], inline=b"\0" * 64)])
    onnx = onnx_folder(tmp_path / "onnx" / "m", **{"model.onnx": graph})
    assert audition("model", "import", hf).stdout.startswith("m:f32 ")
    assert audition("model", "import", onnx).stdout.startswith("m:f32-onnx-genai ")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["smollm2-135m"], "nothing to import", 2),
        (["nowhere/at/all"], "there is no file", 2),
        (["smolm2"], "did you mean", 2),
        (["smollm2-135m", "--to", "gguf"], "onnx-genai", 2),
        (["smollm2-135m", "--precision", "int8"], "add --to onnx-genai", 2),
    ],
)
def test_what_cannot_be_imported_is_told_so(home, arguments, said, code):
    done = audition("model", "import", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert done.stdout == ""


def test_a_bad_name_is_told_so(home, tmp_path):
    done = audition("model", "import", onnx_folder(tmp_path / "m"), "--name", "../x")
    assert done.returncode == 2
    assert "cannot be a model's name" in done.stderr


def test_a_catalogs_own_variant_cannot_be_taken(home, tmp_path):
    done = audition("model", "import", onnx_folder(tmp_path / "m"), "--name", "smollm2-135m:q4_1")
    assert done.returncode == 2
    assert "another model called smollm2-135m:q4_1" in done.stderr


def test_a_broken_folder_is_refused_with_the_way_out(home, tmp_path):
    done = audition("model", "import", onnx_folder(tmp_path / "m", **{"model.onnx.data": None}))
    assert done.returncode == 1
    assert "model.onnx.data, which holds the weights of model.onnx, is missing" in done.stderr
    assert "fix:" in done.stderr
    assert not (home / "store" / "manifests").exists()


def test_without_the_tools_a_conversion_names_the_command(home, tmp_path, monkeypatch):
    # A package that Python cannot find, whatever is installed.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = audition("model", "import", ggufs.write_gguf(tmp_path / "x.gguf"), "--to", "onnx-genai")
    assert done.returncode == 1
    assert "a conversion needs torch" in done.stderr
    assert done.stderr.splitlines()[-1] == "  fix: pip install 'audition[convert]'"
