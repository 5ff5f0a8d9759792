"""The models that have a name here."""

from __future__ import annotations

import json

from audition.models.catalog import adhoc_spec, load_catalog
from audition.models.spec import Licence, LicenceClass, Variant
from audition.store.known import known_models
from fake_source import NO_LICENCE
from folders import onnx_folder

MIT = Licence("MIT", LicenceClass.PERMISSIVE, "import")


def imported(store, tmp_path, model, name="int4", quantization="INT4"):
    own = None if name == quantization.lower() else name
    variant = Variant(model, "onnx-genai", quantization, f"import:{model}:{name}", name=own)
    return store.add(variant, onnx_folder(tmp_path / model), MIT, provenance={})


def test_an_empty_store_adds_nothing(store):
    assert dict(known_models(store)) == dict(load_catalog())


def test_an_import_is_another_variant_of_its_model(store, tmp_path):
    installed = imported(store, tmp_path, "smollm2-135m")
    spec = known_models(store)["smollm2-135m"]
    assert [variant.id for variant in spec.variants] == ["smollm2-135m:q4_1", "smollm2-135m:int4"]
    assert store.find(known_models(store).resolve("smollm2-135m:int4")) == installed
    assert known_models(store).resolve("smollm2-135m").format == "gguf", "the catalog's own comes first"


def test_an_import_of_another_name_is_a_model(store, tmp_path):
    imported(store, tmp_path, "mine", name="best")
    spec = known_models(store)["mine"]
    assert (spec.origin, spec.licence, spec.context_length) == ("store", MIT, 256)
    assert [variant.id for variant in spec.variants] == ["mine:best"]
    assert store.find(known_models(store).resolve("mine:BEST")) is not None


def test_the_persons_own_catalog_wins(store, tmp_path, home):
    imported(store, tmp_path, "mine")
    entry = {"source": "file:other.gguf", "quantization": "INT4", "licence": "gemma"}
    (home / "models.json").write_text(json.dumps({"mine": entry}))
    spec = known_models(store)["mine"]
    assert [variant.source for variant in spec.variants] == [f"file:{home / 'other.gguf'}"]
    assert spec.licence.id == "gemma"


def test_a_file_that_was_only_named_by_its_path_has_no_name(store, tiny):
    store.ensure(tiny, NO_LICENCE)
    assert "tiny" not in known_models(store)


def test_a_folder_can_stand_in_a_models_file(store, tmp_path, home):
    onnx_folder(home / "m")
    entry = {"source": "file:m", "format": "onnx-genai", "licence": "MIT"}
    (home / "models.json").write_text(json.dumps({"mine": entry}))
    spec = known_models(store)["mine"]
    installed = store.ensure(spec.variants[0], spec.licence)
    assert (installed.id, installed.format, installed.quantization) == ("mine:onnx-genai", "onnx-genai", "INT4")
    assert adhoc_spec(home / "m").variants[0].format == "onnx-genai"
