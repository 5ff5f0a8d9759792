"""Whatever files a hub lists: what is taken for a model is one unit that a name can ask for, and never a pickle."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from audition.errors import AuditionError
from audition.models.folder import FILE_NAME
from audition.models.hub_name import parse_hub_name
from audition.models.spec import Licence
from audition.store.hub.repository import RepoFile, Repository
from audition.store.hub.variants import choose, default_of, label, variants_of
from audition.text import one_line

STEMS = st.sampled_from(
    [
        "m",
        "m-Q4_K_M",
        "m-q8_0",
        "n-Q4_K_M",
        "m-Q4_0-00001-of-00002",
        "m-Q4_0-00002-of-00002",
        "mmproj-f16",
        "x y",
        "-",
        "model",
        "model-00001-of-00002",
        "model-00002-of-00002",
        "genai_config",
        "openvino_model",
        "config",
        "tokenizer",
    ]
)
ENDINGS = st.sampled_from(
    [".gguf", ".GGUF", ".safetensors", ".onnx", ".onnx.data", ".xml", ".bin", ".pt", ".json", ".txt", ".py", ""]
)
FOLDERS = st.sampled_from(["", "cpu", "Q8_0", "a/b", "a-b", "cpu/int4", "ü", "x:y"])
PATHS = st.lists(st.tuples(FOLDERS, STEMS | st.text(max_size=5), ENDINGS), unique=True, max_size=25)


def repository(parts: list[tuple[str, str, str]]) -> Repository:
    paths = {"/".join(filter(None, (folder, stem.replace("/", "") + ending))) for folder, stem, ending in parts}
    paths = {path for path in paths if path and one_line(path) == path}  # others are refused before
    files = tuple(RepoFile(path, 10, f"{number:064x}", None) for number, path in enumerate(sorted(paths)))
    return Repository(
        "owner/repo", "c" * 40, files, Licence.named("mit", source="hub metadata"), "https://hub/owner/repo"
    )


@settings(max_examples=300, deadline=None)
@given(PATHS)
def test_every_variant_is_whole_and_has_a_name_that_asks_for_it(parts: list[tuple[str, str, str]]) -> None:
    repo = repository(parts)
    variants = variants_of(repo)
    assert variants == variants_of(repo)
    for variant in variants:
        named = parse_hub_name(variant.source)
        assert (named.repository, named.variant) == ("owner/repo", label(variant))
        paths = [path for file in variant.files for path in file.parts]
        assert len(paths) == len(variant.files) > 0
        assert all(repo.file(path) is not None for path in paths)
        assert len({path.rpartition("/")[0] for path in paths}) == 1
        assert not any(path.lower().endswith((".pt", ".py")) for path in paths)
        assert variant.format == "openvino" or not any(path.lower().endswith(".bin") for path in paths)
        if len(paths) > 1:
            assert all(FILE_NAME.fullmatch(file.name) for file in variant.files)
        # A name that two share is told so, and never stands for the wrong one.
        with suppress(AuditionError):
            assert choose(repo, label(variant), (variant.format,)) in variants
    shared = [label(variant).lower() for variant in variants]
    for variant in variants:
        if shared.count(label(variant).lower()) == 1 and FILE_NAME.fullmatch(label(variant)):
            with suppress(AuditionError):
                assert label(choose(repo, label(variant))) == label(variant)


@settings(max_examples=200, deadline=None)
@given(PATHS)
def test_the_default_is_one_of_the_first_format_or_none(parts: list[tuple[str, str, str]]) -> None:
    repo = repository(parts)
    variants = variants_of(repo)
    default = default_of(variants)
    assert default is None or default in variants
    try:
        assert choose(repo, None) == default
    except AuditionError as error:
        assert default is None
        assert "\n" not in error.message
        assert error.fix
