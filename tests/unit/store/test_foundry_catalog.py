"""Foundry Local's catalog, through the real SDK, with a service of the test's own behind it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audition import api
from audition.api.discover import Filters
from audition.api.this_machine import ThisMachine
from audition.cli.foundry import list_foundry
from audition.errors import AuditionError, UsageError
from audition.models.header import ModelFileError
from audition.models.spec import LicenceClass
from audition.store.foundry import catalog, process, sdk
from audition.store.foundry.catalog import catalog_spec, list_catalog
from audition.store.foundry.process import explained, foundry_dir
from audition.store.sources import foundry as source
from audition.store.store import Store
from foundry_catalog_server import NOWHERE, FoundryService, entry, write_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("foundry_local_sdk") is None, reason="foundry-local-sdk is not installed"
)
needs_tls = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the SDK trusts only the system's certificates"
)

TWO = [
    entry("tiny-instruct-cuda-gpu", 3, device="gpu", execution_provider="CUDAExecutionProvider"),
    entry("tiny-instruct-generic-cpu", 2),
]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FoundryService]:
    service = FoundryService(write_model(tmp_path / "blobs"), TWO)
    monkeypatch.setenv("AUDITION_FOUNDRY_CATALOG", service.url)
    yield service
    service.close()


@pytest.fixture
def registry(service: FoundryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FoundryService:
    service.behind_tls(tmp_path, monkeypatch)
    return service


def forget_failure() -> None:
    os.utime(foundry_dir() / "catalog-unreachable", (0, 0))


def test_the_catalog_is_listed_with_what_it_says(service: FoundryService) -> None:
    listing = list_catalog()
    assert listing.warning is None
    by_name = {model.name: model for model in listing.models}
    model = by_name["tiny-instruct-generic-cpu"]
    assert (model.id, model.alias, model.publisher) == ("tiny-instruct-generic-cpu:2", "tiny", "Contoso")
    assert (model.device, model.execution_provider) == ("CPU", "CPUExecutionProvider")
    assert (model.licence, model.context_length, model.capabilities) == ("apache-2.0", 8192, ("tool-calling",))
    assert model.size is not None
    assert abs(model.size - 90_000_000) < 2**20
    assert model.variant.id == "tiny:generic-cpu"
    assert by_name["tiny-instruct-cuda-gpu"].variant.id == "tiny:cuda-gpu"
    assert (model.variant.format, model.variant.quantization) == ("onnx-genai", "RTN")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("foundry:tiny", "tiny:generic-cpu"),
        ("foundry:TINY", "tiny:generic-cpu"),
        ("foundry:tiny:cuda", "tiny:cuda-gpu"),
        ("foundry:tiny:generic-cpu", "tiny:generic-cpu"),
        ("foundry:tiny-instruct-cuda-gpu", "tiny:cuda-gpu"),
        ("foundry:tiny-instruct-cuda-gpu:3", "tiny:cuda-gpu"),
    ],
)
def test_a_name_stands_for_one_entry(service: FoundryService, name: str, found: str) -> None:
    spec, variant = api.find_model(name)
    assert variant.id == found
    assert (spec.alias, spec.engine, spec.context_length) == ("tiny", "foundry", 8192)
    assert (spec.licence.cls, spec.licence.source) == (LicenceClass.PERMISSIVE, "Foundry Local catalog")


@pytest.mark.parametrize("name", ["foundry:tinny", "foundry:tiny:npu", "foundry:tiny-instruct-generic-cpu:9"])
def test_a_name_that_is_not_there_is_told_so(service: FoundryService, name: str) -> None:
    with pytest.raises(UsageError, match="lists no") as caught:
        catalog_spec(name)
    assert caught.value.fix is not None
    assert "tiny" in caught.value.fix


def test_entries_that_are_no_names_or_no_chat_models_are_left_out(service: FoundryService) -> None:
    service.models = [
        entry("../../evil", 1),
        entry("a/b", 1),
        entry("\x1b[31mred", 1),
        entry(".hidden", 1),
        entry("n" * 200, 1),
        entry("fine-generic-cpu", 1, "x\ny"),
        entry("speech-generic-cpu", 1, "speech", inferenceTasks=["automatic-speech-recognition"]),
        entry("good-generic-cpu", 1, "good", publisher="\x1b[2J\u202eEvil\n" * 100, license="MIT" * 100),
    ]
    listing = list_catalog()
    assert [model.name for model in listing.models] == ["good-generic-cpu"]
    publisher = listing.models[0].publisher
    assert publisher is not None
    assert publisher.isprintable()
    assert len(publisher) <= 120


def test_a_catalog_that_is_away_costs_one_attempt_and_its_last_copy_is_used(
    service: FoundryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list_catalog().models) == 2
    monkeypatch.setenv("AUDITION_FOUNDRY_CATALOG", NOWHERE)
    listing = list_catalog()
    assert listing.warning is not None
    assert "Could not connect to server" in listing.warning
    assert "its copy of the last time" in listing.warning
    assert len(listing.models) == 2
    start = time.monotonic()
    assert list_catalog() == listing
    assert time.monotonic() - start < 3, "an attempt takes the SDK about five seconds"
    assert catalog_spec("foundry:tiny").alias == "tiny"


def test_after_some_minutes_it_is_asked_again(service: FoundryService) -> None:
    service.answer = (500, b"")
    assert list_catalog().warning is not None
    asked = len(service.requests)
    assert list_catalog().warning is not None
    assert len(service.requests) == asked
    service.answer = None
    forget_failure()
    assert list_catalog().warning is None
    assert not (foundry_dir() / "catalog-unreachable").exists()


def test_another_catalog_is_asked_though_one_is_away(service: FoundryService, monkeypatch: pytest.MonkeyPatch) -> None:
    service.answer = (404, b"")
    assert list_catalog().warning is not None
    service.answer = None
    monkeypatch.setenv("AUDITION_FOUNDRY_CATALOG", service.url.replace("127.0.0.1", "localhost"))
    assert list_catalog().warning is None


@pytest.mark.parametrize(
    "answer",
    [(200, b"<html>Log in</html>"), (200, b"[]"), (200, b'{"summaries": 7}'), (403, b"no"), (302, b"")],
    ids=repr,
)
def test_an_answer_that_is_no_catalog_is_told_so(service: FoundryService, answer: tuple[int, bytes]) -> None:
    service.answer = answer
    listing = list_catalog()
    assert listing.models == ()
    assert listing.warning is not None
    assert listing.warning.startswith("the catalog of Foundry Local cannot be read (")
    assert listing.warning.endswith("; there is no copy of it here")
    with pytest.raises(AuditionError, match="cannot be read") as caught:
        catalog_spec("foundry:tiny")
    assert caught.value.code == "no_network"


def test_a_catalog_that_says_nothing_is_not_waited_for(
    service: FoundryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.hangs = True
    monkeypatch.setattr(catalog, "LIST_TIMEOUT_S", 2.0)
    start = time.monotonic()
    listing = list_catalog()
    assert time.monotonic() - start < 10
    assert listing.warning is not None
    assert "no answer within 2 s" in listing.warning


def test_without_the_sdk_its_installation_is_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    with pytest.raises(AuditionError, match="not installed here") as caught:
        list_catalog()
    assert caught.value.fix is not None
    assert caught.value.fix.endswith("-m pip install 'audition[foundry]'")


def test_an_address_that_the_sdk_does_not_take_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITION_FOUNDRY_CATALOG", "https://ai.azure.com/api/eastus/ux/v1.0")
    with pytest.raises(AuditionError, match=r"SDK cannot be used here: .*asset-gallery"):
        list_catalog()


@needs_tls
def test_a_model_is_downloaded_into_the_store(registry: FoundryService) -> None:
    seen: list[int] = []
    spec, variant = api.find_model("foundry:tiny")
    installed = api.install(spec, variant, progress=lambda what, done, total: seen.append(done))
    assert seen
    for path in registry.folder.iterdir():
        assert (installed.weights_path / path.name).read_bytes() == path.read_bytes()
    assert (installed.id, installed.licence.id) == ("tiny:generic-cpu", "apache-2.0")
    assert not list((foundry_dir() / "models").glob("*/*")), "there is one copy of it"
    # From now on it has a name of its own, and nobody is asked.
    asked = len(registry.requests)
    assert api.find_model("tiny:generic-cpu")[1].id == installed.id
    assert api.install(spec, variant) == installed
    assert len(registry.requests) == asked


@needs_tls
def test_a_download_that_stalls_is_given_up_and_goes_on_the_next_time(
    registry: FoundryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.hangs_at = "model.onnx"  # the largest comes last
    monkeypatch.setattr(source, "STALL_TIMEOUT_S", 3.0)
    spec, variant = api.find_model("foundry:tiny")
    with pytest.raises(AuditionError, match="it stalled: no answer within 3 s") as caught:
        api.install(spec, variant)
    assert caught.value.code == "no_network"
    assert Store().installed() == []
    fetched = registry.asked("GET /blobs/genai_config.json")
    registry.hangs_at = None
    api.install(spec, variant)
    assert registry.asked("GET /blobs/genai_config.json") == fetched == 1


@needs_tls
def test_a_model_that_no_engine_could_load_is_refused_and_not_kept(registry: FoundryService) -> None:
    (registry.folder / "tokenizer.json").unlink()
    spec, variant = api.find_model("foundry:tiny")
    with pytest.raises(ModelFileError, match="tokenizer"):
        api.install(spec, variant)
    assert not list((foundry_dir() / "models").glob("*/*"))
    assert Store().installed() == []


@needs_tls
def test_a_model_that_the_registry_does_not_have_is_told_so(registry: FoundryService) -> None:
    spec, variant = api.find_model("foundry:tiny")
    (registry.folder / "model.onnx").unlink()
    registry.models = []
    with pytest.raises(
        AuditionError, match=r"could not download tiny-instruct-generic-cpu:2: the catalog does not list"
    ):
        api.install(spec, variant)


def test_the_child_ends_with_its_parent(service: FoundryService) -> None:
    service.hangs = True
    request = json.dumps({"op": "list", "folder": str(foundry_dir()), "catalog": service.url})
    child = subprocess.Popen([sys.executable, "-m", sdk.__name__], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.write(request.encode() + b"\n")
    child.stdin.flush()
    deadline = time.monotonic() + 30
    while not service.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    child.stdin.close()
    assert child.wait(timeout=10) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("a.cc:7 virtual fl::Model* fl::C::Get(const std::string&, int) const no such model", "no such model"),
        (
            "g.cc:211 fl::G::G(std::string, fl::ILogger&) failed to create preprocessor for model m:1: "
            "p.cc:32 static fl::P fl::P::Create(OgaModel&, bool) failed to create tokenizer: Invalid file",
            "failed to create tokenizer: Invalid file",
        ),
        ("f.cc:1 void f(const std::function<void(int)>&) Load model from /x/model.onnx failed:Bad.", "Bad"),
        ("Empty chat template.", "Empty chat template"),
        ("\x1b[31mred\n" * 1000, None),
        ("a" * 100_000 + ".cc:1 f( ", None),
    ],
)
def test_the_reason_is_found_in_what_the_sdk_says(said: str, reason: str | None) -> None:
    found = explained(said)
    assert reason is None or found == reason
    assert found.isprintable()
    assert len(found) <= 300


@needs_tls
def test_a_models_json_can_name_an_id(registry: FoundryService, tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    source = "foundry:tiny-instruct-generic-cpu:2"
    file.write_text(json.dumps({"ours": {"source": source, "format": "onnx-genai", "licence": "MIT"}}))
    ((spec, variant),) = api.find_models([str(file)])
    installed = api.install(spec, variant)
    assert (installed.id, installed.source) == ("ours:onnx-genai", source)
    file.write_text(json.dumps({"ours": {"source": "foundry:tiny", "format": "onnx-genai"}}))
    with pytest.raises(UsageError, match="foundry:name:version"):
        api.find_models([str(file)])


def test_a_list_that_cannot_be_had_is_an_error(service: FoundryService, capsys: pytest.CaptureFixture[str]) -> None:
    service.answer = (403, b"no")
    with pytest.raises(AuditionError, match=r"cannot be read \(.*; there is no copy of it here") as caught:
        list_foundry(Filters(), ThisMachine(), as_json=True)
    assert (caught.value.code, capsys.readouterr().out) == ("no_network", "")


def test_a_folder_that_cannot_be_written_is_named_with_a_fix(home: Path) -> None:
    home.mkdir()
    (home / "foundry").write_text("in the way")
    with pytest.raises(AuditionError) as caught:
        list_catalog()
    assert str(home / "foundry") in caught.value.message
    assert "SDK" not in caught.value.message
