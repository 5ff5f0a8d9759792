"""Targets: what is derived from a model's entry, its file and its engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ggufs
from audition.bench.plan import Target
from audition.bench.subject import need_memory
from audition.bench.targets import make_server_target, make_target, smaller_variants
from audition.engines.endpoint.identify import Identity
from audition.errors import AuditionError
from audition.models.gguf import read_gguf_header
from audition.models.spec import Licence, LicenceClass, ModelSpec, Variant
from audition.store.blobs import StoredFile
from audition.store.installed import Installed
from audition.store.store import Store

MIT = Licence("MIT", LicenceClass.PERMISSIVE, "catalog")
VARIANT = Variant("tiny", "gguf", "Q4_0", "file:tiny.gguf")
DIGEST = "a" * 64


@pytest.fixture
def installed(tmp_path: Path) -> Any:
    def install(**metadata: Any) -> Installed:
        path = ggufs.write_gguf(tmp_path / "tiny.gguf", metadata=ggufs.tiny_metadata(**metadata))
        files = (StoredFile("tiny.gguf", 1_000_000, DIGEST),)
        header = read_gguf_header(path)
        return Installed(
            "tiny:q4_0", "file:tiny.gguf", "gguf", "Q4_0", files, header, MIT, "now", tmp_path, tmp_path / "manifest"
        )

    return install


def made(installed: Installed, device: str | None = None, context: int | None = None, **spec: Any) -> Target:
    model = ModelSpec("tiny", MIT, (VARIANT,), "built-in", **spec)
    return make_target(model, VARIANT, installed, "llamacpp", {"device": device} if device else {}, context)


def test_a_target_holds_what_the_store_and_the_file_say(installed: Any) -> None:
    target = made(installed(), device="cuda0", instruct=True)
    assert (target.model, target.variant, target.format, target.quantization) == ("tiny", "tiny:q4_0", "gguf", "Q4_0")
    assert (target.engine, target.device, target.digest, target.disk_bytes) == ("llamacpp", "cuda0", DIGEST, 1_000_000)
    assert (target.licence, target.licence_class, target.instruct) == ("MIT", "permissive", True)
    assert target.id == "tiny:q4_0/llamacpp/cuda0"


def test_where_an_engine_runs_that_does_not_say_is_unknown(installed: Any) -> None:
    target = made(installed())
    assert (target.device, target.id) == ("unknown", "tiny:q4_0/llamacpp/unknown")


@pytest.mark.parametrize(("template", "known"), [("{{ messages }}", True), (None, False)])
def test_whether_the_file_has_a_chat_template_is_recorded(installed: Any, template: Any, known: bool) -> None:
    assert made(installed(tokenizer__chat_template=template)).has_chat_template is known


@pytest.mark.parametrize(
    ("in_header", "in_catalog", "context"),
    [(512, None, 512), (131072, None, 4096), (None, 1024, 1024), (None, None, 4096), (512, 8192, 512)],
)
def test_the_context_is_4096_or_what_the_model_was_trained_for(
    installed: Any, in_header: int | None, in_catalog: int | None, context: int
) -> None:
    target = made(installed(llama__context_length=in_header), context_length=in_catalog)
    assert target.settings == {"context": context}
    assert "#" not in target.id


def test_a_context_that_is_asked_for_makes_another_target(installed: Any) -> None:
    model = installed(llama__context_length=131072)
    ids = {made(model, context=context).id for context in (None, 256, 512, 8192)}
    assert len(ids) == 4
    assert made(model, context=4096).id == made(model).id, "the default, said aloud"
    assert made(model, context=256).id == made(model, context=256).id
    assert made(model, context=256).settings == {"context": 256}


def test_devices_and_engines_make_other_targets(installed: Any) -> None:
    assert made(installed(), device="cuda0").id != made(installed()).id


def test_memory_is_weights_and_cache_and_room_to_work(installed: Any) -> None:
    model = installed(llama__context_length=131072)
    small, large = (made(model, context=context).memory_estimate_bytes for context in (512, 1024))
    assert small is not None and large is not None
    # Keys and values of 2 layers, 2 heads of 8 elements, 2 bytes each; and which of 512 tokens see which of these.
    assert large - small == 512 * 2 * 2 * (2 * 8) * 2 + 512 * 512 * 2
    assert small > 1_000_000 + 50 * 2**20
    heavier = replace(model, files=(replace(model.files[0], size=5_000_000),))
    assert made(heavier, context=512).memory_estimate_bytes == small + 4_000_000


def test_requests_at_once_have_a_cache_each(installed: Any) -> None:
    model = ModelSpec("tiny", MIT, (VARIANT,), "built-in")
    one, four = (
        make_target(model, VARIANT, installed(), "llamacpp", {}, 512, parallel).memory_estimate_bytes or 0
        for parallel in (1, 4)
    )
    assert four - one == 3 * (512 * 2 * 2 * (2 * 8) * 2 + 5 * 4), "a cache, and the logits of 5 tokens"


def test_memory_that_cannot_be_told_stays_unknown(installed: Any) -> None:
    target = made(installed(llama__block_count=None))
    assert target.memory_estimate_bytes is None


def variant_in_catalog(quantization: str, megabytes: int) -> dict[str, Any]:
    return {"source": f"file:{quantization}.gguf", "quantization": quantization, "size_mb": megabytes}


@pytest.mark.parametrize(
    ("free_mb", "fitting"),
    [(1000, ["big:q8_0", "big:q4_k_m", "big:q2_k"]), (500, ["big:q4_k_m", "big:q2_k"]), (80, [])],
)
def test_what_would_fit_instead_is_told_from_the_catalog(
    home: Path, tmp_path: Path, free_mb: int, fitting: list[str]
) -> None:
    path = ggufs.write_gguf(tmp_path / "big.gguf", metadata=ggufs.tiny_metadata())
    variants = [variant_in_catalog(*each) for each in (("Q4_K_M", 350), ("Q8_0", 700), ("Q2_K", 200), ("F16", 1400))]
    home.mkdir()
    (home / "models.json").write_text(json.dumps({"big": {"variants": variants}}))
    provenance = {"imported_from": "elsewhere"}
    variant = Variant("big", "gguf", "F32", "import:big:f32")
    installed = Store().add(variant, path, MIT, provenance=provenance)
    target = make_target(ModelSpec("big", MIT, (variant,), "store"), variant, installed, "llamacpp", {})
    assert smaller_variants(target, free_mb * 10**6) == fitting
    told = f"({', '.join(fitting)} would fit)"
    with pytest.raises(AuditionError) as caught:
        need_memory([replace(target, memory_estimate_bytes=2 * 10**9)], free_mb * 10**6)
    assert ("would fit" in caught.value.fix) is bool(fitting)
    assert not fitting or told in caught.value.fix


# --- Servers. ---

SERVER = {"url": "http://127.0.0.1:8080/v1", "model": "small", "key_env": "KEY"}


def test_a_server_is_what_its_routes_and_its_list_say() -> None:
    identity = Identity("Ollama", "1", quantization="Q4_K_M", digest=DIGEST, context=4096, device="GPU")
    target = make_server_target(SERVER, {"id": "small", "context_length": 131072}, identity)
    assert (target.id, target.variant) == ("small@127.0.0.1:8080/endpoint", "small@127.0.0.1:8080")
    assert (target.format, target.quantization, target.digest) == ("server", "Q4_K_M", DIGEST)
    assert target.settings == {**SERVER, "context": 4096}, "as it is loaded, not as it could be"
    assert target.device == "gpu"
    assert target.is_server


@pytest.mark.parametrize("context", [None, 0, -1, 10**12, "4096", True, 1.5])
def test_nothing_is_made_up_for_a_server_that_says_nothing(context: Any) -> None:
    target = make_server_target(SERVER, {"context_length": context, "device": context})
    assert target.settings == SERVER
    assert (target.quantization, target.digest, target.disk_bytes, target.licence) == (None, None, None, None)
    if not isinstance(context, str):
        assert target.device == "unknown"


def test_the_lists_context_is_taken_where_there_is_no_other() -> None:
    for name in ("context_length", "max_model_len"):
        assert make_server_target(SERVER, {name: 512}).settings["context"] == 512
