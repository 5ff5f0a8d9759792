"""What `hf:owner/repo` stands for: what is on this disk, else what the hub has."""

import pytest

from audition import api
from audition.errors import AuditionError, UsageError
from audition.models.catalog import load_catalog
from audition.models.spec import Licence
from audition.paths import user_models_file
from audition.store.store import Store
from ggufs import write_gguf
from hub_server import Repo, serving, use

NAME = "hf:Owner/Tiny-GGUF"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with a repository of three quantizations, each another file."""
    files = {}
    for number, quantization in enumerate(("Q8_0", "Q4_K_M", "Q2_K")):
        metadata = {"general.architecture": "llama", "llama.context_length": 512 + number}
        files[f"tiny-{quantization}.gguf"] = write_gguf(tmp_path / "m.gguf", metadata=metadata).read_bytes()
    facts = {"gguf": {"total": 1000, "architecture": "llama", "context_length": 512}}
    with serving(Repo("Owner/Tiny-GGUF", files, {"license": "mit"}, facts=facts)) as server:
        use(server, monkeypatch, tmp_path)
        yield server


def install(name):
    return api.install(*api.find_model(name))


def write_models(text):
    user_models_file().parent.mkdir(parents=True, exist_ok=True)
    user_models_file().write_text(text)


def test_a_name_stands_for_the_default_with_the_other_variants_after_it(hub):
    spec, variant = api.find_model(NAME)
    assert (spec.alias, variant.id, variant.source) == ("tiny-gguf", "tiny-gguf:q4_k_m", f"{NAME}:Q4_K_M")
    assert {each.quantization for each in spec.variants} == {"Q4_K_M", "Q8_0", "Q2_K"}
    assert spec.variants[0] == variant
    assert str(spec.licence) == "mit (permissive)"
    assert (spec.parameters, spec.context_length) == (1000, 512)
    assert spec.origin == f"{hub.url}/Owner/Tiny-GGUF"
    assert variant.size == len(hub.repos["Owner/Tiny-GGUF"].files["tiny-Q4_K_M.gguf"])


def test_a_name_can_say_variant_and_revision(hub):
    repo = hub.repos["Owner/Tiny-GGUF"]
    repo.branches["v1"] = {"tiny-Q8_0.gguf": repo.files["tiny-Q8_0.gguf"]}
    assert api.find_model(f"{NAME}:q8_0")[1].source == f"{NAME}:Q8_0"
    assert api.find_model(f"{NAME}@v1")[1].source == f"{NAME}:Q8_0@v1"
    with pytest.raises(UsageError, match="has no"):
        api.find_model(f"{NAME}:Q4_K_M@v1")


def test_a_name_downloads_and_is_then_known_by_its_alias(hub, monkeypatch):
    installed = install(NAME)
    assert installed.id == "tiny-gguf:q4_k_m"
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (NAME, f"{NAME}:Q4_K_M", f"{NAME}:q4_k_m", f"{NAME}:tiny-Q4_K_M.gguf", "tiny-gguf", "tiny-gguf:q4_k_m"):
        spec, variant = api.find_model(name)
        assert (spec.alias, variant.id) == ("tiny-gguf", "tiny-gguf:q4_k_m")
        assert Store().find(variant).digest == installed.digest
    assert len(hub.requests) == asked
    with pytest.raises(AuditionError) as caught:
        api.find_model(f"{NAME}:Q8_0")
    assert caught.value.code == "offline"


def test_without_a_variant_it_is_the_one_that_is_here(hub):
    install(f"{NAME}:Q8_0")
    assert api.find_model(NAME)[1].quantization == "Q8_0"
    install(f"{NAME}:Q4_K_M")
    spec, variant = api.find_model(NAME)
    assert variant.quantization == "Q4_K_M"
    assert {each.id for each in spec.variants} == {"tiny-gguf:q4_k_m", "tiny-gguf:q8_0"}


def test_the_same_files_under_two_names_are_one(hub, monkeypatch):
    write_models('{"mine": {"source": "hf:Owner/Tiny-GGUF"}, "ours": {"source": "hf:Owner/Tiny-GGUF:Q4_K_M"}}')
    assert install("mine").digest == install("ours").digest
    assert len(Store().installed()) == 2
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (NAME, f"{NAME}:Q4_K_M"):
        assert Store().find(api.find_model(name)[1]) is not None


def test_another_revision_is_another_model(hub):
    install(f"{NAME}:Q4_K_M")
    repo = hub.repos["Owner/Tiny-GGUF"]
    repo.branches["v1"] = {"tiny-Q4_K_M.gguf": repo.files["tiny-Q8_0.gguf"]}
    pinned = install(f"{NAME}:Q4_K_M@v1")
    assert pinned.digest != install(f"{NAME}:Q4_K_M").digest
    assert pinned.revision == repo.commit("v1")


def test_a_commit_that_came_as_a_branch_is_here(hub, monkeypatch):
    installed = install(NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert install(f"{NAME}@{installed.revision}").digest == installed.digest
    with pytest.raises(AuditionError) as caught:
        install(f"{NAME}@{'0' * 40}")
    assert caught.value.code == "offline"


def test_a_name_that_another_model_has_is_not_taken(hub):
    write_models('{"tiny-gguf": {"source": "file:own.gguf"}}')
    assert api.find_model(NAME)[0].alias == "owner-tiny-gguf"
    assert install(NAME).id == "owner-tiny-gguf:q4_k_m"
    assert api.find_model(NAME)[0].alias == "owner-tiny-gguf"


def test_the_catalogs_entry_of_the_same_repository_may_share_its_name(hub):
    write_models('{"tiny-gguf": {"source": "hf:owner/tiny-gguf:Q8_0", "quantization": "Q8_0"}}')
    assert api.find_model(NAME)[0].alias == "tiny-gguf"


def test_what_was_fetched_for_the_catalog_is_found_by_its_name_on_the_hub(hub):
    write_models('{"mine": {"source": "hf:Owner/Tiny-GGUF:Q8_0", "quantization": "Q8_0", "licence": "gemma"}}')
    installed = install("mine")
    assert (installed.id, installed.licence) == ("mine:q8_0", Licence.named("gemma", source="models.json"))
    asked = len(hub.requests)
    assert api.find_model(f"{NAME}:Q8_0")[1].source == installed.source
    assert len(hub.requests) == asked


@pytest.mark.parametrize("entry", ['{"source": "hf:Owner/Tiny-GGUF"}', '{"source": "hf:Owner/Tiny-GGUF:Q4_K_M"}'])
def test_a_catalogs_source_is_all_that_a_download_needs(hub, entry):
    write_models(f'{{"mine": {entry}}}')
    installed = install("mine")
    assert installed.quantization == "Q4_0" or installed.header.context_length == 513
    assert installed.files[0].name == "tiny-Q4_K_M.gguf"
    assert api.find_model("mine")[1].id == "mine:gguf"
    assert Store().find(api.find_model("mine")[1]) is not None


@pytest.mark.parametrize(
    "alias", sorted(a for a, s in load_catalog().items() if s.variants[0].source.startswith("hf:"))
)
def test_every_entry_of_the_built_in_catalog_can_be_downloaded(hub, alias):
    spec, variant = api.find_model(alias)
    name, _, quantization = variant.source.removeprefix("hf:").partition(":")
    content = hub.repos["Owner/Tiny-GGUF"].files["tiny-Q2_K.gguf"]
    stem = name.partition("/")[2].removesuffix("-GGUF").lower()
    names = [f"{stem}-{q.lower()}.gguf" for q in ("Q8_0", "fp16", quantization)]
    split = f"{stem}-q8_0-0000{{}}-of-00002.gguf"
    others = dict.fromkeys((*names, split.format(1), split.format(2), "mmproj-f16.gguf"), content)
    hub.repos[name] = Repo(name, others, {"license": "apache-2.0"})
    installed = api.install(spec, variant)
    assert installed.id == variant.id
    assert installed.files[0].name == names[-1]


def test_an_engine_gets_the_variant_that_it_can_run(hub):
    repo = hub.repos["Owner/Tiny-GGUF"]
    repo.files |= {"config.json": b"{}", "model.safetensors": b"x"}
    (found,) = api.find_models([NAME], ["llamacpp"])
    assert found[1].format == "gguf"
    (found,) = api.find_models([NAME], ["transformers"])
    assert found[1].format == "gguf"
    with pytest.raises(UsageError, match="has no variant that llamacpp can run"):
        api.find_models([f"{NAME}:safetensors"], ["llamacpp"])


@pytest.mark.parametrize("name", ["hf:", "hf:tiny", "hf:../x/y", "hf:a/b:../c"])
def test_what_is_no_name_is_told_without_asking(hub, name):
    with pytest.raises(UsageError):
        api.find_model(name)
    assert hub.requests == []


def test_a_damaged_source_in_the_store_hides_nothing(hub):
    installed = install(NAME)
    text = installed.manifest.read_text()
    installed.manifest.with_name("other.json").write_text(text.replace("hf:Owner", "hf:../Owner"))
    assert api.find_model(NAME)[1].quantization == "Q4_K_M"


def test_a_file_that_is_bad_on_the_hub_is_called_by_its_name_and_not_fetched_again_and_again(hub):
    """What arrived is what was promised, so another download would bring the same."""
    (cut,) = [content[:150] for name, content in hub.repos["Owner/Tiny-GGUF"].files.items() if "Q2_K" in name]
    hub.repos["Owner/Cut-GGUF"] = Repo("Owner/Cut-GGUF", {"cut-Q4_0.gguf": cut})
    with pytest.raises(AuditionError) as caught:
        install("hf:Owner/Cut-GGUF")
    assert caught.value.message.startswith("cut-Q4_0.gguf is truncated")
    assert caught.value.code == "bad_model_file"
    assert "download it again" not in (caught.value.fix or "")
    assert Store().installed() == []


@pytest.mark.parametrize("repository", ["HF", "Ollama", "file"])
def test_no_repository_is_called_like_a_place_that_models_come_from(hub, repository):
    """`hf:q4_k_m` would be asked of the hub."""
    name = f"Owner/{repository}"
    hub.repos[name] = Repo(name, dict(hub.repos["Owner/Tiny-GGUF"].files))
    installed = install(f"hf:{name}")
    assert installed.id == f"{repository.lower()}-model:q4_k_m"
    assert api.find_model(installed.id)[1].id == installed.id
