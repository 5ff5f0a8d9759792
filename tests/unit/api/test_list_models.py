"""The list of models: what is known of each, and what the filters let through."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

import ggufs
from audition.api.discover import Filters, filtered, list_models, make_row
from audition.api.facts import model_facts
from audition.api.models import find_model, install
from audition.api.this_machine import ThisMachine
from audition.models.catalog import load_catalog
from audition.models.fit import Memory
from audition.models.spec import Licence, Variant, VariantFile
from audition.store.store import Store

GB = 10**9
BUILT_IN = json.loads(resources.files("audition.models").joinpath("catalog.json").read_text())
ON_A_HUB = {"source": "hf:owner/any-GGUF:Q4_K_M", "quantization": "Q4_K_M"}
SHAPE = {"architecture": "llama", "block_count": 30, "embedding_length": 576, "head_count": 9, "head_count_kv": 3}


def machine(total=16 * GB, available=12 * GB, context=None):
    it = ThisMachine(context)
    it.memory = Memory(total, available, None, None)
    return it


def write_catalog(home, **models):
    home.mkdir(parents=True, exist_ok=True)
    (home / "models.json").write_text(json.dumps(models))


def add(tmp_path, name, **metadata):
    path = ggufs.write_gguf(tmp_path / f"{name}.gguf", metadata=ggufs.tiny_metadata(**metadata))
    variant = Variant(name, "gguf", "Q4_0", f"import:{name}:q4_0")
    return Store().add(variant, path, Licence.named("MIT", source="import"), provenance={})


def rows_by_name(it=None):
    return {row.id: row for row in list_models(it or machine())}


@pytest.fixture
def alone(monkeypatch):
    """No network and no process."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the list is made from what is here")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_it_needs_no_network_and_no_process(home, tmp_path, alone):
    add(tmp_path, "mine")
    assert {"mine:q4_0", "smollm2-135m:q4_1", "llama-3.2-3b:q4_k_m"} <= set(rows_by_name())


def test_what_is_here_comes_first_and_then_it_goes_by_name(home, tmp_path):
    add(tmp_path, "zulu")
    names = [row.id for row in list_models(machine())]
    assert names[0] == "zulu:q4_0"
    assert names[1:] == sorted(names[1:])


def test_what_nobody_says_is_unknown_and_never_zero(home):
    write_catalog(home, bare={"source": "hf:owner/bare-GGUF:Q4_K_M"})
    row = rows_by_name()["bare:gguf"]
    assert (row.size, row.parameters, row.context_length, row.memory, row.licence) == (None,) * 5
    assert (row.fit, row.licence_class, row.state, row.downloaded) == ("unknown", "unknown", "no", False)


def test_a_size_is_estimated_where_only_the_parameters_are_known(home):
    write_catalog(home, three={**ON_A_HUB, "parameters": 3_212_749_824})
    row = rows_by_name()["three:q4_k_m"]
    assert row.size_estimated
    assert 1.5 * GB < row.size < 2.6 * GB, "3.2 billion weights of 4 to 6 bits"
    stated = rows_by_name()["smollm2-135m:q4_1"]
    assert (stated.size, stated.size_estimated) == (98362432, False)


def test_the_header_of_what_is_here_wins(home, tmp_path):
    add(tmp_path, "mine", llama__context_length=777)
    row = rows_by_name()["mine:q4_0"]
    assert (row.context_length, row.architecture, row.chat_template) == (777, "llama", True)
    assert (row.downloaded, row.state, row.licence) == (True, "yes", "MIT")
    assert row.memory["kv_cache"] is not None
    assert row.memory["total"] == row.memory_total
    assert row.memory_context == 777, "not more than it was trained for"


def test_more_context_takes_more_memory(home, tmp_path):
    add(tmp_path, "mine")
    small, large = (rows_by_name(machine(context=context))["mine:q4_0"] for context in (256, 100_000))
    assert large.memory["kv_cache"] > small.memory["kv_cache"]
    assert (small.memory_context, large.memory_context) == (256, 100_000)


LARGE = {"llama__block_count": 4000, "llama__context_length": 100_000}
"""A tiny file with a KV cache of a gigabyte at 4,096 tokens."""


def test_the_same_model_fits_one_machine_and_not_another(home, tmp_path):
    add(tmp_path, "mine", **LARGE)
    fits = [rows_by_name(machine(*sizes))["mine:q4_0"].fit for sizes in ((64 * GB, 60 * GB), (4 * GB, GB), (GB, GB))]
    assert fits == ["yes", "tight", "no"]


def test_without_the_cache_nobody_says_that_it_fits(home):
    write_catalog(home, seven={**ON_A_HUB, "parameters": 7 * 10**9})
    assert rows_by_name(machine(64 * GB, 60 * GB))["seven:q4_k_m"].fit == "unknown"
    assert rows_by_name(machine(2 * GB, 1 * GB))["seven:q4_k_m"].fit == "no", "its weights alone are too large"


@pytest.mark.parametrize("alias", BUILT_IN)
def test_every_built_in_model_fits_or_not_before_it_is_here(home, alone, alias):
    (id_,) = [variant.id for variant in load_catalog()[alias].variants]
    rows = [rows_by_name(machine(*sizes))[id_] for sizes in ((64 * GB, 60 * GB), (64 * GB, 10**8), (10**8, 10**8))]
    assert [row.fit for row in rows] == ["yes", "tight", "no"]
    memory = rows[0].memory
    assert (memory["basis"], memory["is_lower_bound"]) == ("catalog", False)
    assert memory["kv_cache"] > 20_000_000


def test_a_persons_own_entry_can_give_the_shape(home):
    write_catalog(home, mine={**ON_A_HUB, "size_mb": 1000, "shape": SHAPE}, without={**ON_A_HUB, "size_mb": 1000})
    mine, without = (rows_by_name()[f"{name}:q4_k_m"] for name in ("mine", "without"))
    assert (mine.fit, mine.memory["kv_cache"]) == ("yes", 30 * 3 * (64 + 64) * 4096 * 2)
    assert (mine.memory["basis"], mine.architecture, mine.size) == ("catalog", "llama", 10**9)
    assert (without.fit, without.memory["basis"], without.architecture) == ("unknown", "file size", None)


def test_a_window_is_counted_as_its_architecture_has_it(home):
    windowed = {**ON_A_HUB, "size_mb": 1000, "shape": {**SHAPE, "sliding_window": 512}}
    write_catalog(home, plain=windowed, gemma={**windowed, "shape": {**windowed["shape"], "architecture": "gemma3"}})
    plain, gemma = (rows_by_name()[f"{name}:q4_k_m"].memory["kv_cache"] for name in ("plain", "gemma"))
    assert gemma == plain // 30 * 5 + plain // 30 * 25 // 4, "25 of 30 layers keep 1,024 of 4,096 tokens"


def test_a_header_that_is_read_comes_before_the_catalogs_shape(home, tmp_path):
    path = ggufs.write_gguf(tmp_path / "mine.gguf", metadata=ggufs.tiny_metadata(general__architecture="llama"))
    write_catalog(home, mine={"source": f"file:{path}", "size_mb": 1, "shape": {**SHAPE, "architecture": "gemma3"}})
    before = rows_by_name()["mine:gguf"]
    assert (before.memory["basis"], before.architecture) == ("catalog", "gemma3")
    assert model_facts("mine", machine()).row.memory["basis"] == "header", "it is read where it lies"
    install(*find_model("mine"))
    after = rows_by_name()["mine:gguf"]
    assert (after.memory["basis"], after.architecture) == ("header", "llama")
    assert after.memory["kv_cache"] == 2 * 2 * (8 + 8) * 512 * 2


def test_engines_are_those_that_load_the_format(home):
    it = machine()
    it._runners = [replace(each, missing=("x",) if each.name == "openvino" else ()) for each in it._runners]
    row = rows_by_name(it)["smollm2-135m:q4_1"]
    assert row.engines[0] == "llamacpp", "the one that is taken when nobody names one"
    assert row.engines_missing == ("openvino",)
    assert "ortgenai" not in row.engines


def test_a_model_in_parts_is_for_the_formats_own_engine_alone(home):
    files = tuple(VariantFile(f"m-0000{n}-of-00002.gguf", 10) for n in (1, 2))
    row = make_row(machine(), None, Variant("m", "gguf", "Q4_0", "hf:o/m:Q4_0", files))
    assert (*row.engines, *row.engines_missing) == ("llamacpp",)


def test_an_entrys_own_engine_is_the_one(home):
    write_catalog(home, mine={"engine": "my.module:Engine", "parameters": 10**9})
    row = next(row for row in list_models(machine()) if row.family is None and row.catalog == "models.json")
    assert row.engines == ("my.module:Engine",)


def test_every_row_is_plain_json(home, tmp_path):
    add(tmp_path, "mine")
    for row in list_models(machine()):
        again = json.loads(json.dumps(row.to_json()))
        assert again["id"] == row.id
        assert set(again) == set(list_models(machine())[0].to_json())


def test_the_documents_name_every_key(home, tmp_path):
    add(tmp_path, "mine")
    text = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    keys = {*list_models(machine())[0].to_json(), *model_facts("mine", machine()).to_json()}
    assert {key for key in keys if f"`{key}`" not in text} == set()


FILTERS = [
    (Filters(family="QWEN"), {"qwen2.5-0.5b:q4_k_m"}),
    (Filters(capabilities=("chat", "Tools")), {"mistral-7b:q4_k_m", "llama-3.2-3b:q4_k_m"}),
    (Filters(licences=("mit",)), {"deepseek-r1-distill-qwen-1.5b:q4_k_m", "phi-3.5-mini:q4_k_m"}),
    (Filters(licences=("use-restricted",)), {"gemma-3-270m:q4_k_m", "gemma-2-2b:q4_k_m", "llama-3.2-3b:q4_k_m"}),
    (Filters(licences=("gemma", "llama3.2")), {"gemma-3-270m:q4_k_m", "gemma-2-2b:q4_k_m", "llama-3.2-3b:q4_k_m"}),
    (Filters(max_bytes=260e6), {"gemma-3-270m:q4_k_m", "smollm2-135m:q4_1"}),
    (Filters(formats=("onnx-genai",)), set()),
    (Filters(engines=("ortgenai",)), set()),
    (Filters(downloaded=True), set()),
]


@pytest.mark.parametrize(("filters", "names"), FILTERS, ids=lambda value: str(value)[:60])
def test_each_filter_lets_through_what_it_says(home, filters, names):
    assert {row.id for row in filtered(list_models(machine()), filters).rows} == names


def test_tight_takes_what_fits_as_well(home, tmp_path):
    add(tmp_path, "small")
    add(tmp_path, "large", **LARGE)
    rows = [row for row in list_models(machine(4 * GB, GB)) if row.downloaded]
    assert [row.id for row in filtered(rows, Filters(fits="yes")).rows] == ["small:q4_0"]
    assert [row.id for row in filtered(rows, Filters(fits="tight")).rows] == ["large:q4_0", "small:q4_0"]


UNKNOWN = {
    "fits": Filters(fits="tight"),
    "size": Filters(max_bytes=10**15),
    "licence": Filters(licences=("permissive",)),
    "capability": Filters(capabilities=("chat",)),
}


@pytest.mark.parametrize("filters", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_is_left_out_and_counted(home, filters):
    write_catalog(home, bare={"source": "hf:owner/bare-GGUF:Q4_K_M", "family": "bare"})
    rows = [row for row in list_models(machine()) if row.family in ("bare", "qwen")]
    found = filtered(rows, replace(filters, family="bare"))
    assert (found.rows, found.unknown, found.hint) == ((), 1, None), "the other one is left out for its family"


def test_what_nobody_knows_the_terms_of_can_be_asked_for(home):
    write_catalog(home, bare={"source": "hf:owner/bare-GGUF:Q4_K_M"})
    assert [row.id for row in filtered(list_models(machine()), Filters(licences=("unknown",))).rows] == ["bare:gguf"]
    found = filtered(list_models(machine()), Filters(family="qwen", licences=("apache-2.0",)))
    assert ([row.id for row in found.rows], found.unknown) == (["qwen2.5-0.5b:q4_k_m"], 1)


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        (Filters(family="qwne"), 'the family "qwne"; did you mean "qwen"?'),
        (Filters(capabilities=("tool",)), 'the capability "tool"; did you mean "tools"?'),
        (Filters(licences=("permisive",)), 'the licence "permisive"; did you mean "permissive"?'),
        (Filters(engines=("lamacpp",)), 'the engine "lamacpp"; did you mean "llamacpp"?'),
        (Filters(family="zzz"), "there is deepseek, gemma"),
        (Filters(family="qwen", downloaded=True), None),
    ],
)
def test_a_word_that_nothing_has_is_told(home, filters, hint):
    found = filtered(list_models(machine()), filters)
    assert found.rows == ()
    assert (found.hint is None) if hint is None else (hint in found.hint)
