"""Whatever names and paths are: nothing of the store lies outside it, and no two models share a place."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from audition.errors import AuditionError
from audition.models.catalog import adhoc_spec
from audition.models.spec import Variant
from audition.store.blobs import Blobs
from audition.store.manifests import _safe, key_of
from audition.store.sources import source_of
from audition.store.store import Store

ROOT = Path("/data/store")
PORTABLE = set(string.ascii_letters + string.digits + "._=+-")

# Random text seldom has what climbs out of folders.
CLIMBING = st.sampled_from(["..", "/", "\\", ".", " ", "~", "C:", "\x00", "\n", "%2e", "con", "\u202e", "\ud800", "-"])
LONG = st.text(st.sampled_from(sorted(PORTABLE)), min_size=100, max_size=300)
TEXT = st.one_of(st.text(max_size=300), LONG, st.lists(CLIMBING | st.text(max_size=5), max_size=40).map("".join))


def variants(scheme):
    return TEXT.map(lambda text: Variant("own", "gguf", None, f"{scheme}:{text}"))


FILES = variants("file").filter(lambda variant: not variant.source.startswith("file:~"))


def inside(path, folder):
    """Whether the path lies in the folder by its words alone, with nothing to climb or to resolve."""
    return path.is_relative_to(folder) and ".." not in path.parts


@given(TEXT)
def test_a_part_is_one_short_portable_name(text):
    part = _safe(text)
    assert 1 <= len(part) <= 120
    assert set(part) <= PORTABLE
    assert not part.startswith((".", "-"))
    assert part not in (".", "..")
    assert Path(part).name == part


@given(st.text(st.sampled_from(sorted(PORTABLE - set(".-"))), min_size=1, max_size=120))
def test_a_name_that_is_safe_is_kept(text):
    assert _safe(text) == text


@given(FILES)
def test_manifests_and_staging_lie_where_they_belong(variant):
    store = Store(ROOT)
    manifest = store.manifests.path(variant)
    scheme = variant.source.partition(":")[0]
    assert inside(manifest, ROOT / "manifests" / scheme)
    assert len(manifest.relative_to(ROOT).parts) == 4
    assert manifest.suffix == ".json"
    assert inside(ROOT / "staging" / key_of(variant), ROOT / "staging")
    assert len(Path(key_of(variant)).parts) == 1


PART = st.text(st.sampled_from(sorted(PORTABLE | {"/"})), min_size=1, max_size=90)
HUB = st.tuples(PART, PART, PART).map(lambda parts: Variant("own", "gguf", None, "hf:owner/{}:{}@{}".format(*parts)))


@given(st.one_of(variants("pypi"), variants("hf"), HUB))
def test_a_package_or_a_repository_is_refused_or_lies_where_it_belongs(variant):
    store = Store(ROOT)
    try:
        manifest = store.manifests.path(variant)
    except AuditionError:
        return
    assert inside(manifest, ROOT / "manifests" / variant.source.partition(":")[0])
    assert len(manifest.relative_to(ROOT).parts) == 4
    assert len(Path(key_of(variant)).parts) == 1


@given(HUB, HUB)
def test_two_names_on_a_hub_never_share_a_manifest_or_a_folder(one, two):
    store = Store(ROOT)
    assume(one.source.casefold() != two.source.casefold())
    try:
        places = [(str(store.manifests.path(each)).casefold(), key_of(each).casefold()) for each in (one, two)]
    except AuditionError:
        return
    assert places[0][0] != places[1][0]
    assert places[0][1] != places[1][1]


@given(FILES, FILES)
def test_two_files_never_share_a_manifest(one, two):
    store = Store(ROOT)
    here = Path.cwd()
    paths = [here / variant.source.removeprefix("file:") for variant in (one, two)]
    assume(paths[0] != paths[1])
    assert store.manifests.path(one) != store.manifests.path(two)


@given(TEXT)
def test_a_file_named_by_its_path_is_found_under_that_path(text):
    path = Path("/models") / text
    variant = adhoc_spec(path).variants[0]
    assert variant.source == f"file:{path.absolute()}"
    assert set(variant.model) <= PORTABLE
    assert 1 <= len(variant.model) <= 100
    assert isinstance(source_of(variant).fingerprint(variant), str | None)  # also when no disk can hold such a name


@given(TEXT)
def test_a_digest_is_refused_or_is_one(text):
    with pytest.raises(AuditionError):
        Blobs(ROOT).path(text)
    assert inside(Blobs(ROOT).path("0" * 64), ROOT)
