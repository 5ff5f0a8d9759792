"""What a hub says of a repository is checked before anything is done with it."""

from types import SimpleNamespace as Answer

import pytest
from huggingface_hub.hf_api import ModelInfo

from audition.errors import AuditionError
from audition.models.spec import LicenceClass
from audition.store.hub.repository import MAX_FILES, checked

SHA1, SHA256 = "a" * 40, "b" * 64
HUB = "https://hub.example"


def answer(**changes):
    """A hub's answer as its client gives it."""
    lfs = {"size": 100, "sha256": SHA256, "pointerSize": 130}
    data = {
        "id": "owner/repo",
        "sha": SHA1,
        "private": False,
        "gated": "manual",
        "downloads": 12,
        "likes": 3,
        "lastModified": "2026-02-03T04:05:06.000Z",
        "tags": ["gguf", "base_model:quantized:owner/base", "base_model:owner/base", "license:mit"],
        "cardData": {"license": "apache-2.0"},
        "gguf": {"total": 135_000_000, "architecture": "llama", "context_length": 8192},
        "siblings": [
            {"rfilename": "m-Q4_0.gguf", "size": 100, "blobId": SHA1, "lfs": lfs},
            {"rfilename": "sub/config.json", "size": 5, "blobId": SHA1},
        ],
    }
    return ModelInfo(**(data | changes))


def sibling(**changes):
    return answer(siblings=[{"rfilename": "a.json", "size": 5, "blobId": SHA1} | changes])


def refused(info):
    with pytest.raises(AuditionError) as caught:
        checked(info, HUB, None)
    assert caught.value.code == "bad_answer"
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    return caught.value.message


def test_everything_that_the_hub_tells_is_kept():
    repo = checked(answer(), HUB, "v1")
    assert (repo.name, repo.commit, repo.revision, repo.page) == ("owner/repo", SHA1, "v1", f"{HUB}/owner/repo")
    assert (repo.gated, repo.private, repo.downloads, repo.likes) == (True, False, 12, 3)
    assert repo.last_modified == "2026-02-03T04:05:06+00:00"
    assert repo.base_models == ("owner/base",)
    assert (repo.parameters, repo.architecture, repo.context_length) == (135_000_000, "llama", 8192)
    large, small = repo.files
    assert (large.path, large.size, large.sha256, large.git_sha1) == ("m-Q4_0.gguf", 100, SHA256, None)
    assert (small.folder, small.name, small.sha256, small.git_sha1) == ("sub", "config.json", None, SHA1)
    assert repo.file("sub/config.json") is small
    assert repo.file("gone") is None


def test_what_it_does_not_tell_is_unknown_and_never_zero():
    silent = answer(
        downloads=None, likes=None, gated=None, private=None, lastModified=None, tags=None, cardData=None, gguf=None
    )
    repo = checked(silent, HUB, None)
    assert {repo.downloads, repo.likes, repo.gated, repo.private, repo.last_modified} == {None}
    assert {repo.parameters, repo.architecture, repo.context_length} == {None}
    assert (repo.tags, repo.base_models) == ((), ())
    assert (repo.licence.id, repo.licence.cls) == (None, LicenceClass.UNKNOWN)


def test_a_folder_of_tensors_is_told_of_by_its_own_facts():
    info = answer(gguf=None, safetensors={"parameters": {"BF16": 7}, "total": 7}, config={"model_type": "qwen2"})
    repo = checked(info, HUB, None)
    assert (repo.parameters, repo.architecture) == (7, "qwen2")


@pytest.mark.parametrize("wrong", [-1, "many", True, 1.5, 2**70, [1]])
def test_numbers_that_are_none_are_unknown(wrong):
    gguf = {"total": wrong, "context_length": wrong, "architecture": 5}
    repo = checked(answer(downloads=wrong, likes=wrong, gguf=gguf), HUB, None)
    assert {repo.downloads, repo.likes, repo.parameters, repo.context_length, repo.architecture} == {None}


@pytest.mark.parametrize(
    "path",
    [
        "../x.gguf",
        "/etc/passwd",
        "a/../../x",
        "a/./x",
        "a//x",
        "a\\..\\x",
        "a\0b",
        "a\nb",
        "C:/x",
        "",
        "a/",
        5,
        "x" * 500,
        "a\x1b[2Jb",
        "a\u202eb",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path):
    assert "whose path cannot be" in refused(sibling(rfilename=path))


@pytest.mark.parametrize("size", [-1, None, "5", 2**60, 1.5, True])
def test_a_size_that_cannot_be_is_refused(size):
    assert "the size of a.json" in refused(sibling(size=size))
    assert "the size of a.json" in refused(sibling(lfs={"size": size, "sha256": SHA256, "pointerSize": 1}))


@pytest.mark.parametrize("digest", ["", "x" * 64, "A" * 64, SHA1, 5, None, "../" * 20])
def test_a_digest_that_is_none_is_refused(digest):
    assert "SHA-256" in refused(sibling(lfs={"size": 5, "sha256": digest, "pointerSize": 1}))


@pytest.mark.parametrize("digest", ["", "x" * 40, SHA256, None, 5])
def test_a_git_digest_that_is_none_is_refused(digest):
    assert "digest" in refused(sibling(blobId=digest))


@pytest.mark.parametrize("sha", [None, "main", "a" * 39, "../x", 5])
def test_an_answer_without_a_commit_is_refused(sha):
    assert "commit" in refused(answer(sha=sha))


@pytest.mark.parametrize("name", ["repo", "a/b/c", "../x", "a/..", "a/b?x", "-a/b", 5, None, "a--b/c", "ü/b"])
def test_a_name_that_is_no_repositorys_is_refused(name):
    assert "name cannot be" in refused(answer(id=name))


def test_an_answer_without_a_list_of_files_is_refused():
    assert "lists no files" in refused(answer(siblings=None))


def test_far_too_many_files_are_refused():
    many = [Answer(rfilename=f"{number}", size=1, lfs=None, blob_id=SHA1) for number in range(MAX_FILES + 1)]
    info = answer()
    info.siblings = many
    assert "files" in refused(info)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"license": "apache-2.0"}, ("apache-2.0", "permissive", None)),
        ({"license": ["mit"]}, ("mit", "permissive", None)),
        ({"license": "other"}, ("other", "unknown", None)),
        (
            {"license": "other", "license_name": "lfm1.0", "license_link": "https://x.example/LICENSE"},
            ("lfm1.0", "unknown", "https://x.example/LICENSE"),
        ),
        ({"license": "other", "license_name": "qwen-research"}, ("qwen-research", "non-commercial", None)),
        ({"license": "gemma", "license_link": "javascript:alert(1)"}, ("gemma", "use-restricted", None)),
        ({"license": "mit", "license_link": "LICENSE"}, ("mit", "permissive", None)),
        ({"license": "mit", "license_link": "https://x.example/" + "y" * 5000}, ("mit", "permissive", None)),
        ({"license": ["mit", "gemma"]}, ("unlisted", "unknown", None)),
        ({"license": "unknown"}, (None, "unknown", None)),
        ({"license": 5}, ("unlisted", "unknown", None)),
        ({"license": "mit\x1b[2J\n<b>"}, ("mit\ufffd[2J <b>", "unknown", None)),
        ({}, ("unlisted", "unknown", None)),
        (None, ("unlisted", "unknown", None)),
    ],
)
def test_the_licence_is_the_cards_else_the_tags_and_never_a_guess(card, expected):
    licence = checked(answer(cardData=card, tags=["license:unlisted"]), HUB, None).licence
    assert (licence.id, licence.cls, licence.link) == expected
    assert licence.source == "hub metadata"


def test_of_two_licences_in_tags_none_is_taken():
    assert checked(answer(cardData=None, tags=["license:mit", "license:gemma"]), HUB, None).licence.id is None


def test_hostile_text_is_made_printable_and_short():
    info = answer(tags=["a\x1b[2Jb", "t" * 1000, 5, ""], gguf={"architecture": "x\n" * 500})
    repo = checked(info, HUB, None)
    assert repo.tags[0] == "a\ufffd[2Jb"
    assert len(repo.tags[1]) == 120
    assert len(repo.tags) == 2
    assert len(repo.architecture) <= 80
