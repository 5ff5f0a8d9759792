"""The source `https:`, and what a store makes of downloads: manifests, notes, what is kept of an interrupted one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audition.errors import AuditionError, UsageError
from audition.models.spec import Licence, LicenceClass, Variant, VariantFile
from audition.store.transfer.download import KEPT
from audition.store.transfer.interrupted import interrupted
from downloads import sha256
from fake_source import NO_LICENCE, FakeSource, fake_variant
from file_server import Fault, FileServer


@pytest.fixture
def served(settings, model):
    """A server that has a real model, however small."""
    with FileServer({"/some/tiny.gguf": model.read_bytes()}) as server:
        yield server


@pytest.fixture
def variant(served, model):
    file = VariantFile("tiny.gguf", None, sha256(model.read_bytes()))
    return Variant("tiny", "gguf", "Q4_0", f"{served.url}/some/tiny.gguf", (file,))


def test_a_model_is_installed_from_its_address(store, variant, model):
    installed = store.ensure(variant, NO_LICENCE)
    assert installed.weights_path.read_bytes() == model.read_bytes()
    assert (installed.source, installed.revision) == (variant.source, None)
    assert store.find(variant) == installed
    assert store.leftovers() == []
    assert list(store.partials.iterdir()) == []


def test_once_it_is_here_no_server_is_needed(store, variant, served):
    installed = store.ensure(variant, NO_LICENCE)
    served.close()
    assert store.ensure(variant, NO_LICENCE) == installed


def test_without_a_digest_it_is_refused(store, variant, served):
    for unknown in (replace(variant, files=()), replace(variant, files=(VariantFile("tiny.gguf", 5),))):
        with pytest.raises(UsageError, match="only be downloaded when its SHA-256 is known") as caught:
            store.ensure(unknown, NO_LICENCE)
        assert "--sha256" in caught.value.fix
        assert "models.json" in caught.value.fix
    assert served.requests == []


def test_another_digest_is_another_model(store, variant, served):
    store.ensure(variant, NO_LICENCE)
    other = replace(variant, files=(VariantFile("tiny.gguf", None, "a" * 64),))
    assert store.find(other) is None
    with pytest.raises(AuditionError) as caught:
        store.ensure(other, NO_LICENCE)
    assert caught.value.code == "digest_mismatch"


def test_a_folder_has_no_address(store, variant):
    with pytest.raises(UsageError, match="names one file"):
        store.ensure(replace(variant, format="onnx-genai"), NO_LICENCE)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http://example.org/m.gguf", "not safe beyond this machine"),
        ("https://me:secret@example.org/m.gguf", "user name"),
        ("https://[::1/m.gguf", "its address is not one"),
        ("https://", "not one of the web"),
        ("https:m.gguf", "not one of the web"),
    ],
)
def test_an_address_that_is_none_is_refused(store, variant, source, words):
    with pytest.raises(AuditionError, match=words) as caught:
        store.ensure(replace(variant, source=source), NO_LICENCE)
    assert caught.value.code == "bad_source"
    assert "secret" not in caught.value.message


def test_what_is_no_model_is_not_kept(store, variant, served):
    served.files["/some/tiny.gguf"] = page = b"<html>not found</html>"
    wrong = replace(variant, files=(VariantFile("tiny.gguf", None, sha256(page)),))
    with pytest.raises(AuditionError) as caught:
        store.ensure(wrong, NO_LICENCE)
    assert caught.value.code == "bad_model_file"
    assert [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_an_interrupted_download_goes_on_the_next_time(store, variant, served, model):
    size = model.stat().st_size
    served.fail("/some/tiny.gguf", Fault(cut=500))
    served.fail_always("/some/tiny.gguf", Fault(status=403))
    with pytest.raises(AuditionError) as caught:
        store.ensure(variant, NO_LICENCE)
    assert (caught.value.code, caught.value.fix.endswith(KEPT)) == ("unauthorized", True)
    (entry,) = interrupted(store.partials)
    assert (entry.model, entry.source, entry.arrived) == (variant.id, variant.source, 500)
    assert (store.root / "locks" / f"{entry.key}.lock").exists()
    served.fail_always("/some/tiny.gguf", Fault())
    served.sent = 0
    store.ensure(variant, NO_LICENCE)
    assert served.sent == size - 500
    assert interrupted(store.partials) == []


def test_an_interrupt_keeps_what_has_arrived(store, variant, served):
    served.fail("/some/tiny.gguf", Fault(stall=500))

    def interrupt(what, done, total):
        if done == 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.ensure(variant, NO_LICENCE, interrupt)
    assert [entry.arrived for entry in interrupted(store.partials)] == [500]


# What a source notes.


class NotingSource(FakeSource):
    """A source that knows its revision and its licence."""

    def fetch(self, variant, sink):
        sink.notes["revision"] = "c" * 40
        sink.notes["licence"] = Licence.named("apache-2.0", source="hub metadata")
        yield from super().fetch(variant, sink)


@pytest.fixture
def noting(monkeypatch, model):
    from audition.store import sources

    monkeypatch.setattr(sources, "_SOURCES", (NotingSource([model.read_bytes()]),))


def test_a_revision_is_recorded(store, noting):
    assert store.ensure(fake_variant(), NO_LICENCE).revision == "c" * 40
    assert store.find(fake_variant()).revision == "c" * 40


def test_a_licence_that_the_source_knows_holds_where_the_catalog_names_none(store, noting):
    read = store.ensure(fake_variant(), NO_LICENCE).licence
    assert (read.id, read.cls, read.source) == ("apache-2.0", LicenceClass.PERMISSIVE, "hub metadata")


@pytest.mark.parametrize("said", ["gemma", "a-licence-that-nobody-knows"])
def test_what_the_catalog_names_holds(store, noting, said):
    assert store.ensure(fake_variant(), Licence.named(said, source="catalog")).licence.id in (said, "mit")
