"""Models by name, and the variant that each engine is to run."""

from __future__ import annotations

import pytest

from audition import api
from audition.errors import UsageError
from audition.models.header import ModelFileError
from audition.models.spec import Licence, Variant
from audition.store.store import Store
from folders import onnx_folder

NO_LICENCE = Licence.named(None, source="import")


@pytest.fixture
def imported(home, tmp_path):
    """SmolLM2 with a second variant, which is in the store."""
    variant = Variant("smollm2-135m", "onnx-genai", "INT4", "import:smollm2-135m:int4")
    return Store().add(variant, onnx_folder(tmp_path / "m"), NO_LICENCE, provenance={})


def chosen(names, engines=()):
    return [(spec.engine, variant.id) for spec, variant in api.find_models(names, engines)]


def test_without_engines_the_catalogs_first_variant_is_taken(imported):
    assert chosen(["smollm2-135m"]) == [(None, "smollm2-135m:q4_1")]
    assert chosen(["smollm2-135m:int4"]) == [(None, "smollm2-135m:int4")]


def test_each_engine_gets_the_variant_that_it_can_run(imported):
    found = chosen(["smollm2-135m"], ["llamacpp", "ortgenai"])
    assert found == [("llamacpp", "smollm2-135m:q4_1"), ("ortgenai", "smollm2-135m:int4")]


def test_a_variant_that_is_named_is_the_one(imported):
    assert chosen(["smollm2-135m:q4_1"], ["llamacpp"]) == [("llamacpp", "smollm2-135m:q4_1")]
    with pytest.raises(UsageError, match="smollm2-135m:q4_1 has no variant that ortgenai can run"):
        chosen(["smollm2-135m:q4_1"], ["ortgenai"])


def test_one_that_is_installed_comes_before_one_that_is_not(imported, faulty):
    # An adapter that says nothing of formats is given any.
    assert chosen(["smollm2-135m"], ["steady"]) == [("steady", "smollm2-135m:int4")]


def test_where_there_is_none_the_conversion_is_named(home):
    with pytest.raises(UsageError) as caught:
        chosen(["smollm2-135m"], ["llamacpp", "ortgenai"])
    assert caught.value.message == "smollm2-135m has no variant that ortgenai can run (it runs onnx-genai)"
    assert caught.value.fix == "audition model import smollm2-135m --to onnx-genai"
    assert caught.value.exit_code == 2


def test_a_folder_is_named_by_its_path(home, tmp_path):
    folder = onnx_folder(tmp_path / "My model")
    assert chosen([str(folder)]) == [(None, "my-model:onnx-genai")]
    assert chosen([str(folder)], ["ortgenai"]) == [("ortgenai", "my-model:onnx-genai")]
    with pytest.raises(UsageError, match="no variant that llamacpp can run") as caught:
        chosen([str(folder)], ["llamacpp"])
    assert "--engines" in caught.value.fix


def test_an_engine_that_does_not_exist_is_told_so(home):
    with pytest.raises(UsageError, match='no engine "lamacpp"') as caught:
        chosen(["smollm2-135m"], ["lamacpp"])
    assert "llamacpp" in caught.value.fix


def test_the_same_model_twice_in_one_engine_is_refused(home):
    with pytest.raises(UsageError, match="named twice"):
        chosen(["smollm2-135m", "smollm2-135m:q4_1"], ["llamacpp"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "holds no model"),
        (lambda path: path.write_bytes(b"GGUF\x03"), "is truncated"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
    ],
)
def test_what_is_wrong_with_the_files_is_said_before_a_conversion_is_advised(tmp_path, make, said):
    path = tmp_path / "mine.gguf"
    make(path)
    with pytest.raises(ModelFileError, match=said):
        api.find_models([str(path)], ["ortgenai"])
