"""Searching a hub, and reading what a model's file says before it is downloaded."""

import json
import threading

import pytest

from audition.errors import AuditionError
from audition.store.hub import header_of, look_up, search, variants_of
from audition.store.hub.variants import choose, label
from file_server import Fault
from ggufs import HOLE, Tensor, array_claim, tiny_metadata, write_gguf
from hub_server import Repo, answer, refusal, serving, use

MODEL = b"GGUF" * 100
ONNX = {
    "cpu/genai_config.json": json.dumps(
        {
            "model": {
                "type": "phi3",
                "context_length": 4096,
                "decoder": {
                    "num_hidden_layers": 32,
                    "num_attention_heads": 32,
                    "num_key_value_heads": 8,
                    "head_size": 96,
                    "hidden_size": 3072,
                },
            }
        }
    ).encode(),
    "cpu/model.onnx": b"onnx",
    "cpu/model.onnx.data": bytes(5000),
    "cpu/tokenizer.json": b"{}",
}


def ggufs(*quantizations):
    return {f"m-{q}.gguf": MODEL + bytes(number) for number, q in enumerate(quantizations)}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with three repositories."""
    repos = (
        Repo("one/Tiny-GGUF", ggufs("Q8_0", "Q4_K_M"), {"license": "mit"}, downloads=5),
        Repo("two/Tiny-Large-GGUF", {"m-F16.gguf": bytes(10_000)}, {"license": "gemma"}, downloads=500),
        Repo("two/Other-onnx", dict(ONNX), tags=["onnx"], downloads=50),
    )
    with serving(*repos) as server:
        use(server, monkeypatch, tmp_path)
        yield server


def names(rows):
    return [row.name for row in rows]


def test_a_search_finds_what_could_run_in_the_hubs_order(hub):
    rows = search("tiny")
    assert names(rows) == ["one/Tiny-GGUF", "two/Tiny-Large-GGUF"]
    first = rows[0]
    assert (label(first.variant), first.variant.size, first.problem) == ("Q4_K_M", 401, None)
    assert str(first.repository.licence) == "mit (permissive)"
    assert names(search("tiny", sort="downloads")) == ["two/Tiny-Large-GGUF", "one/Tiny-GGUF"]
    assert search("nothing of the kind") == []


def test_a_search_can_be_narrowed(hub):
    assert names(search("", author="two")) == ["two/Tiny-Large-GGUF"]
    assert names(search("", max_size=1000)) == ["one/Tiny-GGUF"]
    assert label(search("", max_size=400)[0].variant) == "Q8_0"
    assert names(search("", limit=1)) == ["one/Tiny-GGUF"]
    assert names(search("", formats=("onnx-genai",))) == ["two/Other-onnx"]
    assert names(search("", formats=("gguf", "onnx-genai"))) == [
        "one/Tiny-GGUF",
        "two/Tiny-Large-GGUF",
        "two/Other-onnx",
    ]


def test_a_repository_that_only_has_the_tag_is_not_found(hub):
    hub.repos["two/Tiny-Large-GGUF"].files = {"README.md": b""}
    assert names(search("tiny")) == ["one/Tiny-GGUF"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (refusal(404, "RepoNotFound", "gone"), "or it is private"),
        (answer({"id": "one/Tiny-GGUF"}), "answer cannot be used"),
        (answer(b"\xff"), "answer cannot be used"),
        (refusal(500, None, "x"), "cannot answer"),
    ],
)
def test_one_broken_repository_becomes_a_row_with_its_reason(hub, said, told):
    hub.fail_always("/api/models/one/Tiny-GGUF", said)
    broken, fine = search("tiny")
    assert (broken.name, broken.repository, broken.variant) == ("one/Tiny-GGUF", None, None)
    assert told in broken.problem
    assert fine.problem is None


def test_a_list_with_a_broken_entry_is_shown_up_to_there(hub):
    rows = [{"id": "one/Tiny-GGUF"}, {"name": "no id"}, {"id": "two/Tiny-Large-GGUF"}]
    hub.fail_always("/api/models", answer(rows))
    first, last = search("tiny")
    assert first.variant is not None
    assert "cannot be read" in last.problem


def test_names_that_lead_elsewhere_are_not_asked_for(hub):
    hub.fail_always("/api/models", answer([{"id": "../../etc"}, {"id": "a/b?x=1"}, {"id": "one/Tiny-GGUF"}]))
    assert names(search("")) == ["one/Tiny-GGUF"]
    assert all(request.path in ("/api/models", "/api/models/one/Tiny-GGUF") for request in hub.requests)


def test_a_list_that_never_ends_is_cut(hub):
    hub.page = 1
    rows = [Repo(f"many/m{number}", ggufs("Q4_K_M")) for number in range(200)]
    hub.repos = {repo.name: repo for repo in rows}
    assert names(search("", limit=3)) == ["many/m0", "many/m1", "many/m2"]
    listed = [request for request in hub.requests if request.path == "/api/models"]
    assert len(listed) <= 6


def test_pages_without_an_end_are_cut(hub):
    again = {"Link": f'<{hub.url}/api/models?cursor=1>; rel="next"'}
    hub.fail_always("/api/models", answer([], headers=again))
    with pytest.raises(AuditionError) as caught:
        search("")
    assert caught.value.code == "bad_answer"
    assert len(hub.requests) < 100


def test_repositories_are_asked_for_side_by_side_but_not_too_many(hub):
    hub.repos = {f"many/m{number}": Repo(f"many/m{number}", ggufs("Q4_K_M")) for number in range(24)}
    now, most, lock = [], [], threading.Lock()
    api = hub.api

    def watched(request):
        with lock:
            now.append(request)
            most.append(len(now))
        hub.ended.wait(0.02)
        with lock:
            now.remove(request)
        return api(request)

    hub.api = watched
    assert len(search("", limit=24)) == 24
    assert 1 < max(most) <= 8


def test_a_search_that_cannot_be_made_is_told(hub, monkeypatch):
    hub.fail_always("/api/models", refusal(503, None, "x"))
    with pytest.raises(AuditionError) as caught:
        search("x")
    assert caught.value.code == "source_unavailable"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AuditionError) as caught:
        search("x")
    assert caught.value.code == "offline"


# What the file says.


@pytest.fixture
def large(hub, tmp_path):
    """A repository with a GGUF file of 20 MB, and its only variant."""
    metadata = tiny_metadata(tokenizer__ggml__tokens=["word"] * 200_000, tokenizer__ggml__scores=None)
    path = write_gguf(tmp_path / "m.gguf", metadata=metadata, tensors=[Tensor(shape=(32, 156_250))])
    hub.repos["one/Tiny-GGUF"].files = {"m-Q4_0.gguf": path.read_bytes()}
    repo = look_up("one/Tiny-GGUF")
    return repo, variants_of(repo)[0]


def test_a_header_is_read_before_the_download_by_its_first_piece_alone(hub, large):
    repo, variant = large
    header = header_of(repo, variant)
    assert (header.architecture, header.context_length, header.licence) == ("llama", 512, "mit")
    assert header.kv.head_count_kv == 2
    assert header.vocab_size == 200_000
    assert header.is_leading
    assert hub.cdn.sent <= 600_000 < variant.size


def test_a_header_that_claims_100_gb_costs_nothing(hub, tmp_path):
    claim = {"general.architecture": "llama", "x.list": array_claim(8, 2**40), **tiny_metadata()}
    path = write_gguf(tmp_path / "hole.gguf", metadata=claim, tensors=[], size=HOLE)
    with path.open("rb") as stream:
        start = stream.read(2**20)
    hub.repos["one/Tiny-GGUF"].files = {"m-Q4_0.gguf": start}
    repo = look_up("one/Tiny-GGUF")
    with pytest.raises(AuditionError) as caught:
        header_of(repo, variants_of(repo)[0])
    assert caught.value.code == "bad_model_file"
    assert hub.cdn.sent <= 2**20


def test_what_is_no_model_is_told_before_the_download(hub):
    repo = look_up("one/Tiny-GGUF")
    with pytest.raises(AuditionError) as caught:
        header_of(repo, choose(repo, "Q8_0"))
    assert caught.value.code == "bad_model_file"
    assert "m-Q8_0.gguf" in caught.value.message


def test_a_folders_facts_come_from_its_json(hub):
    repo = look_up("two/Other-onnx")
    header = header_of(repo, choose(repo, None))
    assert (header.architecture, header.context_length) == ("phi3", 4096)
    assert header.kv_cache_bytes(1024) == 32 * 8 * (96 + 96) * 1024 * 2
    assert header.is_leading
    assert header.has_chat_template is None
    assert hub.cdn.sent == 0


def test_a_folder_of_tensors_has_its_parameters_from_the_hub(hub):
    config = {"model_type": "qwen2", "num_hidden_layers": 2, "max_position_embeddings": 2048}
    hub.repos["two/Other-onnx"].files = {"config.json": json.dumps(config).encode(), "model.safetensors": b"x" * 50}
    hub.repos["two/Other-onnx"].facts = {"safetensors": {"parameters": {"BF16": 9}, "total": 9}}
    repo = look_up("two/Other-onnx")
    header = header_of(repo, choose(repo, None))
    assert (header.architecture, header.context_length, header.parameters) == ("qwen2", 2048, 9)


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b"[" * 100_000])
def test_a_configuration_that_is_none_is_told(hub, content):
    hub.repos["two/Other-onnx"].files["cpu/genai_config.json"] = content
    repo = look_up("two/Other-onnx")
    with pytest.raises(AuditionError) as caught:
        header_of(repo, choose(repo, None))
    assert "\n" not in caught.value.message


def test_a_gated_header_is_told_with_the_page(hub):
    hub.repos["one/Tiny-GGUF"].gated = "auto"
    repo = look_up("one/Tiny-GGUF")
    with pytest.raises(AuditionError) as caught:
        header_of(repo, variants_of(repo)[0])
    assert caught.value.code == "gated"


def test_a_host_that_sends_no_parts_gives_the_beginning_all_the_same(hub, large):
    repo, variant = large
    (path,) = hub.cdn.files or [f"/one/Tiny-GGUF/{repo.commit}/m-Q4_0.gguf"]
    hub.cdn.fail_always(path, Fault(no_ranges=True))
    assert header_of(repo, variant).architecture == "llama"
