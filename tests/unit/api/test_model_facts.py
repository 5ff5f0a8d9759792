"""Everything that is known of one model, and where it is from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import ggufs
from audition.api.discover import make_row
from audition.api.downloads import plan_downloads
from audition.api.facts import model_facts
from audition.api.measured import measured_peaks
from audition.api.this_machine import ThisMachine
from audition.bench.sample import Memory as Held
from audition.errors import AuditionError, UsageError
from audition.models.catalog import load_catalog
from audition.models.fit import Memory
from audition.models.gguf import read_gguf_header
from audition.models.spec import Licence, Variant
from audition.store.store import Store
from file_server import FileServer
from folders import onnx_folder
from handmade import load
from plans import a_plan, a_run, a_target

GB = 10**9


def machine(total=16 * GB, available=12 * GB, context=None):
    it = ThisMachine(context)
    it.memory = Memory(total, available, None, None)
    return it


def add(tmp_path, name="mine", quantization="Q4_0", **metadata):
    path = ggufs.write_gguf(tmp_path / f"{name}-{quantization}.gguf", metadata=ggufs.tiny_metadata(**metadata))
    variant = Variant(name, "gguf", quantization, f"import:{name}:{quantization.lower()}")
    return Store().add(variant, path, Licence.named("MIT", source="import"), provenance={"imported_from": "x"})


def run_with(home, installed, peak, name="20261122-120000-test", **settings):
    """Make a run in the data folder in which a target with these weights took so much memory."""
    target = a_target(digest=installed.digest, engine="llamacpp", settings={"context": 512, **settings})
    run = a_run(home / "runs" / name, a_plan([target]))
    with run.writing() as writer:
        for bytes_ in (peak // 2, peak):
            writer.add_load(load(target=target.id, peak=Held(bytes_, bytes_, 0)))
    return target


def test_a_catalogs_entry_says_what_it_says_and_no_more(home):
    facts = model_facts("smollm2-135m", machine())
    assert facts.row.parameters == 134515008
    assert {facts.sources[key] for key in ("parameters", "licence", "capabilities", "size")} == {"catalog"}
    assert (facts.row.architecture, facts.sources["architecture"]) == ("llama", "catalog")
    assert facts.row.chat_template is None
    assert "chat_template" not in facts.sources, "nobody has looked into the file"
    assert facts.sources["memory"].startswith("estimated from the catalog's facts: weights 98 MB + KV cache 94 MB at ")
    assert facts.measured == ()


def test_a_downloaded_models_header_is_named_as_the_source(home, tmp_path):
    add(tmp_path)
    facts = model_facts("mine", machine())
    of_header = ("parameters", "context_length", "architecture", "chat_template")
    assert {facts.sources[key] for key in of_header} == {"gguf header"}
    assert facts.sources["licence"] == "import"
    assert facts.sources["size"] == "this disk"
    assert facts.sources["sha256"] == "hashed as it was stored"
    assert facts.sources["memory"].startswith("estimated from header: weights ")
    assert "KV cache" in facts.sources["memory"]


def test_a_persons_own_catalog_is_named_where_it_wins(home):
    home.mkdir()
    (home / "models.json").write_text(json.dumps({"smollm2-135m": {"licence": "my-terms"}}))
    facts = model_facts("smollm2-135m", machine())
    assert (facts.row.licence, facts.sources["licence"]) == ("my-terms", "models.json")


def test_a_path_is_read_where_it_lies(home, tmp_path):
    path = ggufs.write_gguf(tmp_path / "some model.gguf")
    facts = model_facts(str(path), machine())
    assert (facts.row.name, facts.row.downloaded, facts.row.size) == (str(path), False, path.stat().st_size)
    assert facts.sources["context_length"] == "gguf header"
    assert facts.row.context_length == 512
    assert (facts.row.licence, facts.row.licence_class, facts.sources["licence"]) == (
        "mit",
        "permissive",
        "gguf header",
    )
    assert not (home / "store").exists(), "nothing is stored"


def test_a_folder_is_read_where_it_lies(home, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    facts = model_facts(str(folder), machine())
    assert (facts.row.format, facts.row.size) == ("onnx-genai", sum(f.stat().st_size for f in folder.iterdir()))
    assert facts.sources["size"] == "this disk"


def test_a_broken_file_is_told_rather_than_described(home, tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(AuditionError):
        model_facts(str(path), machine())
    with pytest.raises(UsageError, match="there is no file"):
        model_facts(str(tmp_path / "none.gguf"), machine())


def test_a_measured_peak_comes_with_the_error_of_the_estimate(home, tmp_path):
    installed = add(tmp_path)
    target = run_with(home, installed, 200_000_000)
    (check,) = model_facts("mine", machine()).measured
    assert (check.peak.bytes, check.peak.run, check.peak.engine) == (200_000_000, "20261122-120000-test", "llamacpp")
    assert check.peak.target == target.id
    at_512 = machine(context=512).estimate(None, installed.variant, installed.header, installed.disk_bytes)
    assert check.estimate == at_512.need.total, "estimated for what was measured, not for the default"
    assert check.error == pytest.approx(check.estimate / 200_000_000 - 1)


def test_parallel_requests_are_estimated_as_such(home, tmp_path):
    installed = add(tmp_path)
    run_with(home, installed, 10**8, name="20261122-120001-a")
    run_with(home, installed, 10**8, name="20261122-120002-b", parallel=8)
    by_parallel = {check.peak.parallel: check.estimate for check in model_facts("mine", machine()).measured}
    assert by_parallel[8] > by_parallel[1]


def test_runs_of_other_weights_and_damaged_runs_are_passed_over(home, tmp_path):
    installed = add(tmp_path)
    run_with(home, installed, 10**8, name="20261122-120001-a")
    other = a_target(digest="1" * 64)
    a_run(home / "runs" / "other", a_plan([other]))
    broken = home / "runs" / "broken"
    broken.mkdir()
    (broken / "plan.json").write_text(f'{{"schema": 2, "digest": "{installed.digest}"')
    damaged = run_with(home, installed, 10**8, name="damaged")
    (home / "runs" / "damaged" / "loads.jsonl").write_text("{}\n")
    assert [peak.run for peak in measured_peaks(installed.digest)] == ["20261122-120001-a"]
    assert damaged.digest == installed.digest


def test_other_variants_are_listed_and_those_that_fit_are_offered(home, tmp_path):
    large = {"llama__block_count": 4000, "llama__context_length": 4096}
    add(tmp_path, quantization="F16", llama__attention__head_count_kv=4, **large)
    add(tmp_path, quantization="Q4_0", **large)
    add(tmp_path, quantization="Q8_0")
    it = machine(2 * GB, 2 * GB)
    facts = model_facts("mine:f16", it)
    assert [row.fit for row in facts.variants] == ["no", "yes", "yes"]
    assert facts.smaller == ("mine:q4_0", "mine:q8_0"), "what takes the most comes first: it keeps the most"
    assert model_facts("mine:q4_0", it).smaller == (), "it fits itself"
    assert model_facts("mine:f16", machine(total=10**8, available=10**8)).smaller == (), "none does"


def test_a_hub_that_cannot_be_asked_is_a_note_for_a_catalogs_entry(home, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    facts = model_facts("qwen2.5-0.5b", machine())
    assert any(note.startswith("the hub could not be asked: ") for note in facts.notes)
    assert facts.row.parameters == 494032768
    with pytest.raises(AuditionError):
        model_facts("hf:owner/repo:Q4_K_M", machine())
    with pytest.raises(AuditionError):
        plan_downloads(["qwen2.5-0.5b"])


def test_terms_that_do_not_agree_are_told(home, tmp_path):
    path = ggufs.write_gguf(tmp_path / "x.gguf")
    entry = {"source": f"file:{path}", "licence": "gemma"}
    (tmp_path / "home").mkdir()
    (home / "models.json").write_text(json.dumps({"mine": entry}))
    assert model_facts("mine", machine()).row.licence == "gemma", "a person's own word stands"
    spec = replace(load_catalog()["gemma-3-270m"], variants=(Variant("g", "gguf", None, f"file:{path}"),))
    row = make_row(machine(), spec, spec.variants[0], header=read_gguf_header(path))
    assert (row.licence, row.licence_note) == ("gemma", "the gguf header says mit (permissive)")


def test_everything_is_plain_json(home, tmp_path):
    run_with(home, add(tmp_path), 10**8)
    data = json.loads(json.dumps(model_facts("mine", machine()).to_json()))
    assert set(data["from"]) <= set(data)
    assert data["measured"][0]["bytes"] == 10**8
    assert data["hub"] is None


def test_the_file_at_an_address_is_read_in_part(home, tmp_path):
    content = ggufs.write_gguf(tmp_path / "x.gguf").read_bytes() + bytes(2_000_000)
    with FileServer({"/tiny-Q4_0.gguf": content}) as server:
        facts = model_facts(f"{server.url}/tiny-Q4_0.gguf", machine())
        assert (facts.row.size, facts.row.context_length) == (len(content), 512)
        assert facts.sources["context_length"] == "gguf header, read from the web"
        assert (facts.row.licence, facts.sources["licence"]) == ("mit", "gguf header")
        assert server.sent < 1_000_000
        gone = model_facts(f"{server.url}/none.gguf", machine())
    assert gone.row.context_length is None
    assert gone.notes[0].startswith("its file could not be read: ")


def test_what_only_an_engine_of_ones_own_reads_is_described_as_well(home, tmp_path):
    home.mkdir()
    (home / "models.json").write_text(json.dumps({"mine": {"engine": "my.module:Engine", "licence": "MIT"}}))
    facts = model_facts("mine", machine())
    assert (facts.row.engines, facts.row.fit, facts.row.size) == (("my.module:Engine",), "unknown", None)
    assert facts.sources["licence"] == "models.json"
