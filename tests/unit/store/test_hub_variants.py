"""Which files of a repository make a model, and which model a name asks for."""

import time

import pytest

from audition.errors import AuditionError, UsageError
from audition.models.spec import Licence
from audition.store.hub.quantizations import ORDER, quantization_of
from audition.store.hub.repository import RepoFile, Repository
from audition.store.hub.variants import choose, default_of, label, left_out_of, variants_of


def repository(*paths, size=1000, **facts):
    """A repository with files of these paths; a number after a path is its size."""
    files = []
    for path in paths:
        name, _, given = path.partition("=")
        files.append(RepoFile(name, int(given or size), f"{len(files):064x}", None))
    licence = Licence.named("mit", source="hub metadata")
    return Repository("Owner/Repo-GGUF", "c" * 40, tuple(files), licence, "https://hub/Owner/Repo-GGUF", **facts)


def names(repo):
    return [label(variant) for variant in variants_of(repo)]


def paths_of(variant):
    return [path for file in variant.files for path in file.parts]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Model-Q4_K_M", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q4_k_m", "Q4_K_M"),
        ("Model.IQ3_XS", "IQ3_XS"),
        ("Model.i1-IQ2_XXS", "IQ2_XXS"),
        ("Model-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("Model-F16", "F16"),
        ("model-fp16", "F16"),
        ("ggml-model-f32", "F32"),
        ("Model-BF16", "BF16"),
        ("Phi-3-mini-4k-instruct-q4", "Q4"),
        ("Model-Q4_0_4_8", "Q4_0_4_8"),
        ("gpt-oss-20b-MXFP4", "MXFP4"),
        ("Model-NVFP4", "NVFP4"),
        ("Model-TQ1_0", "TQ1_0"),
        ("Q2-Model-Q8_0", "Q8_0"),
        ("Model-Q4_K_M-imat", "Q4_K_M"),
        ("Model", None),
        ("ModelQ4_K_M", None),
        ("", None),
    ],
)
def test_a_files_name_states_its_quantization(name, expected):
    assert quantization_of(name) == expected


def test_every_place_in_the_order_is_a_quantization_and_stands_there_once():
    assert [quantization_of(name) for name in ORDER] == list(ORDER)
    assert len(set(ORDER)) == len(ORDER)


def test_a_gguf_file_is_a_variant_named_by_its_quantization():
    repo = repository("README.md", "m-Q4_K_M.gguf=4000", "m-Q8_0.gguf=8000", ".gitattributes")
    assert names(repo) == ["Q4_K_M", "Q8_0"]
    small, _ = variants_of(repo)
    assert (small.id, small.format, small.quantization) == ("repo-gguf:q4_k_m", "gguf", "Q4_K_M")
    assert (small.source, small.size) == ("hf:Owner/Repo-GGUF:Q4_K_M", 4000)
    (file,) = small.files
    assert (file.name, file.size, file.sha256, file.parts) == (
        "m-Q4_K_M.gguf",
        4000,
        repo.files[1].sha256,
        ("m-Q4_K_M.gguf",),
    )


def test_a_variants_source_keeps_the_revision_that_was_asked_for():
    (variant,) = variants_of(repository("m-Q4_0.gguf", revision="refs/pr/1"))
    assert variant.source == "hf:Owner/Repo-GGUF:Q4_0@refs/pr/1"


def test_a_split_file_is_one_variant_with_its_parts_in_order():
    parts = [f"big/m-Q8_0-{number:05d}-of-00003.gguf" for number in (3, 1, 2)]
    (variant,) = variants_of(repository(*parts))
    assert (variant.quantization, variant.size) == ("Q8_0", 3000)
    assert [file.name for file in variant.files] == [f"m-Q8_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


def test_a_split_file_takes_its_quantization_from_its_folder():
    folders = [f"{q}/m-{part:05d}-of-00002.gguf" for q in ("Q4_K_M", "BF16") for part in (1, 2)]
    repo = repository(*folders)
    assert sorted(names(repo)) == ["BF16", "Q4_K_M"]
    assert all(len(variant.files) == 2 for variant in variants_of(repo))


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_split_file_without_all_of_its_parts_is_left_out(missing):
    parts = [f"m-Q4_0-{number:05d}-of-00003.gguf" for number in (1, 2, 3) if number != missing]
    repo = repository(*parts)
    assert variants_of(repo) == ()
    assert "only 2 of them" in next(iter(left_out_of(repo).values()))


def test_a_claim_of_very_many_parts_costs_nothing():
    repo = repository("m-00001-of-99999.gguf")
    assert variants_of(repo) == ()
    assert "99999" in next(iter(left_out_of(repo).values()))


def test_what_is_no_model_by_itself_is_left_out():
    others = ["mmproj-model-f16.gguf", "imatrix.gguf", "m-LoRA-f16.gguf", "adapter.gguf", "ggml-vocab-x.gguf"]
    repo = repository("m-Q4_0.gguf", *others)
    assert names(repo) == ["Q4_0"]
    assert list(left_out_of(repo)) == others
    assert names(repository("m-lora-merged-Q4_0.gguf")) == ["Q4_0"]


def test_two_models_with_the_same_quantization_are_named_by_their_files():
    repo = repository("a-Q4_0.gguf", "b-Q4_0.gguf", "b-Q8_0.gguf")
    assert sorted(names(repo)) == ["Q8_0", "a-Q4_0", "b-Q4_0"]
    repo = repository("x/m-Q4_0.gguf", "y/m-Q4_0.gguf")
    assert sorted(names(repo)) == ["x-m-Q4_0", "y-m-Q4_0"]
    assert len({variant.source for variant in variants_of(repo)}) == 2


def test_a_file_whose_name_states_nothing_is_named_by_it():
    (variant,) = variants_of(repository("model.gguf"))
    assert (label(variant), variant.quantization) == ("model", None)


ONNX = ("genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json", "run.py")


def test_an_onnx_folder_is_one_variant_with_its_external_data():
    repo = repository(*(f"cpu/int4-32/{name}" for name in ONNX), *(f"cuda/fp16/{name}" for name in ONNX), "README.md")
    assert sorted(names(repo)) == ["fp16", "int4-32"]
    variant = choose(repo, "int4-32")
    assert (variant.format, variant.quantization) == ("onnx-genai", None)
    assert [file.name for file in variant.files] == sorted(set(ONNX) - {"run.py"})
    assert choose(repo, "CPU/int4-32") == variant


def test_folders_of_the_same_name_are_named_by_their_paths():
    repo = repository(*(f"cpu/int4/{name}" for name in ONNX), *(f"cuda/int4/{name}" for name in ONNX))
    assert sorted(names(repo)) == ["cpu-int4", "cuda-int4"]


def test_a_folder_of_the_repository_itself_is_named_by_its_format():
    assert names(repository(*ONNX)) == ["onnx-genai"]
    assert names(repository("config.json", "model.safetensors", "tokenizer.json")) == ["safetensors"]


def test_a_safetensors_folder_has_its_shards_and_no_second_copy():
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    repo = repository(
        "config.json", "model.safetensors.index.json", *shards, "consolidated.safetensors", "t.bin", "x.py"
    )
    (variant,) = variants_of(repo)
    assert [file.name for file in variant.files] == ["config.json", *shards, "model.safetensors.index.json"]
    whole = repository("config.json", "model.safetensors", "original/consolidated.safetensors", "pytorch_model.bin")
    (variant,) = variants_of(whole)
    assert [file.name for file in variant.files] == ["config.json", "model.safetensors"]


def test_an_openvino_folder_has_the_weights_of_its_graphs_alone():
    xml = ("openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml", "openvino_tokenizer.bin")
    (variant,) = variants_of(repository(*xml, "training_args.bin", "config.json"))
    assert variant.format == "openvino"
    assert [file.name for file in variant.files] == sorted((*xml, "config.json"))


def test_a_pipeline_for_pictures_is_no_model():
    repo = repository("model_index.json", "unet/config.json", "unet/model.safetensors")
    assert variants_of(repo) == ()
    with pytest.raises(AuditionError, match="pictures"):
        choose(repo, None)


def test_pickles_are_refused_when_they_are_all_there_is():
    with pytest.raises(AuditionError) as caught:
        choose(repository("config.json", "pytorch_model.bin", "tokenizer.json"), None)
    assert caught.value.code == "bad_model_file"
    assert "pickle (pytorch_model.bin)" in caught.value.message


def test_an_onnx_model_that_was_not_made_for_generation_is_told_so():
    with pytest.raises(AuditionError, match="no genai_config"):
        choose(repository("config.json", "onnx/model.onnx"), None)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"], "Q4_K_M"),
        (["m-q4_k_m.gguf", "m-q8_0.gguf"], "Q4_K_M"),
        (["m-Q2_K.gguf", "m-Q5_K_M.gguf", "m-Q8_0.gguf"], "Q5_K_M"),
        (["m-UD-Q4_K_XL.gguf", "m-Q4_0.gguf"], "UD-Q4_K_XL"),
        (["m-F16.gguf", "m-Q8_0.gguf"], "Q8_0"),
        (["m-F16.gguf", "m-Q2_K.gguf"], "F16"),
        (["m-F16.gguf", "m-ZZZ.gguf"], "F16"),
        (["model.gguf"], "model"),
        (["m-Q8_0.gguf", "config.json", "model.safetensors"], "Q8_0"),
    ],
)
def test_the_default_is_the_first_of_a_stated_order(paths, expected):
    repo = repository(*paths)
    assert label(choose(repo, None)) == expected
    assert default_of(variants_of(repo)) == choose(repo, None)


@pytest.mark.parametrize("wanted", ["Q8_0", "q8_0", "m-Q8_0.gguf", "m-q8_0", "x/m-Q8_0.gguf", "x/m-q8_0"])
def test_a_variant_is_chosen_by_quantization_or_file_in_any_case(wanted):
    assert label(choose(repository("x/m-Q8_0.gguf", "m-Q4_K_M.gguf"), wanted)) == "Q8_0"


def test_a_format_chooses_its_default():
    repo = repository("m-Q8_0.gguf", "m-Q4_0.gguf", "config.json", "model.safetensors")
    assert label(choose(repo, "gguf")) == "Q4_0"
    assert choose(repo, "safetensors").format == "safetensors"


def test_an_absent_quantization_is_told_with_what_there_is():
    with pytest.raises(UsageError) as caught:
        choose(repository("m-Q4_0.gguf=1500000000", "m-Q8_0.gguf=300000000"), "Q5_K_M")
    assert caught.value.message == 'Owner/Repo-GGUF has no "Q5_K_M"'
    assert "Q8_0 (300 MB), Q4_0 (1.50 GB)" in caught.value.fix
    assert caught.value.code == "no_such_variant"


def test_an_ambiguous_quantization_is_told_with_the_names_of_both():
    with pytest.raises(UsageError) as caught:
        choose(repository("a-Q4_0.gguf", "b-Q4_0.gguf", "c-Q8_0.gguf"), "Q4_0")
    assert "several" in caught.value.message
    assert "a-Q4_0" in caught.value.fix
    assert "b-Q4_0" in caught.value.fix
    assert "Q8_0" not in caught.value.fix


def test_without_an_obvious_default_nothing_is_guessed():
    with pytest.raises(UsageError, match="several models, and none is the obvious one"):
        choose(repository("a-Q4_K_M.gguf", "b-Q4_K_M.gguf"), None)
    assert default_of(()) is None


def test_a_list_of_variants_is_cut():
    with pytest.raises(UsageError) as caught:
        choose(repository(*(f"model{number}.gguf" for number in range(100))), None)
    assert caught.value.fix.endswith("and 70 more")
    assert len(caught.value.fix) < 1500


def test_an_unusual_name_never_becomes_part_of_a_source():
    (variant,) = variants_of(repository("a model, 模@x:y.gguf"))
    assert variant.source == "hf:Owner/Repo-GGUF:model"


def test_thousands_of_files_cost_little():
    repo = repository(*(f"m{number}-Q4_0.gguf" for number in range(20_000)))
    started = time.process_time()
    assert len(variants_of(repo)) == 20_000
    assert time.process_time() - started < 5
