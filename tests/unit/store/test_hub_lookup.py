"""Asking a hub, over real HTTP and with Hugging Face's own client: a hub can be slow, broken or hostile."""

import logging
import subprocess
import sys
import time

import pytest

from audition.errors import AuditionError
from audition.store.hub import client, look_up, lookup
from file_server import Fault, redirect
from hub_server import TOKEN, Repo, answer, git_sha1, refusal, serving, sha256, use

FILES = {"README.md": b"---\nlicense: mit\n---\n", "m-Q4_K_M.gguf": b"GGUF" * 10}
PATH = "/api/models/owner/repo"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one repository, and nobody logged in."""
    with serving(Repo("owner/repo", dict(FILES), {"license": "apache-2.0"})) as server:
        use(server, monkeypatch, tmp_path)
        yield server


def refused(name="owner/repo", revision=None):
    with pytest.raises(AuditionError) as caught:
        look_up(name, revision)
    error = caught.value
    for text in (error.message, error.fix or ""):
        assert "\n" not in text
        assert TOKEN not in text
        assert len(text) < 400
    assert error.fix
    return error


def test_a_repository_is_told_with_its_commit_and_its_files(hub):
    repo = look_up("owner/repo")
    assert repo.commit == hub.repos["owner/repo"].commit()
    assert [(file.path, file.size) for file in repo.files] == [(path, len(c)) for path, c in FILES.items()]
    assert repo.file("README.md").git_sha1 == git_sha1(FILES["README.md"])
    assert repo.file("m-Q4_K_M.gguf").sha256 == sha256(FILES["m-Q4_K_M.gguf"])
    assert str(repo.licence) == "apache-2.0 (permissive)"
    assert (repo.downloads, repo.gated, repo.private) == (1000, False, False)
    assert len(hub.requests) == 1


def test_the_same_question_is_asked_once(hub, monkeypatch):
    monkeypatch.setattr(lookup, "FRESH_S", 30.0)
    first = look_up("owner/repo")
    assert look_up("owner/repo") is first
    assert len(hub.requests) == 1
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # who may see more is told more
    look_up("owner/repo")
    look_up("owner/repo", "main")
    assert len(hub.requests) == 3
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused().code == "offline"


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1"])
def test_any_revision_becomes_a_commit(hub, revision):
    other = {**FILES, "other.gguf": b"GGUF"}
    hub.repos["owner/repo"].branches |= {"v1.0": other, "refs/pr/1": other}
    repo = look_up("owner/repo", revision)
    assert (repo.file("other.gguf") is not None) == (revision != "main")
    assert look_up("owner/repo", repo.commit).files == repo.files


def test_nothing_is_told_of_this_machine(hub, monkeypatch):
    monkeypatch.setenv("AI_AGENT", "somebody")
    look_up("owner/repo")
    assert [request.path for request in hub.requests] == [PATH]
    told = hub.requests[0].headers["user-agent"]
    assert told.startswith("audition/")
    assert "agent" not in told
    assert "torch" not in told


def test_the_token_is_sent_to_the_hub(hub, monkeypatch, tmp_path):
    look_up("owner/repo")
    (tmp_path / "token").write_text(TOKEN + "\n")
    look_up("owner/repo")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    hub.repos["owner/repo"].tokens.add("hf_other")
    look_up("owner/repo")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    look_up("owner/repo")
    sent = [request.headers.get("authorization") for request in hub.requests]
    assert sent == [None, f"Bearer {TOKEN}", "Bearer hf_other", None]


@pytest.mark.parametrize("token", ["two words", "hf_\N{SNOWMAN}", "hf_\x01"])
def test_what_is_no_token_is_not_sent_and_not_shown(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    error = refused()
    assert token not in error.message
    assert hub.requests == []


def test_the_token_is_not_sent_where_all_could_read_it(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org:8080")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    error = refused()
    assert (
        error.message == "hub.example.org:8080 is asked over http://, where everybody on the way could read the token"
    )
    assert "HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in error.fix
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert refused().code != "insecure"  # the hub is not there, but it was asked for


def test_the_token_never_goes_to_another_origin(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(Repo("owner/repo", dict(FILES))) as other:
        hub.fail_always(PATH, redirect(f"{other.url}{PATH}?blobs=True", 307))
        look_up("owner/repo")
        assert hub.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert [request.headers.get("authorization") for request in other.requests] == [None]


def test_a_list_that_goes_on_elsewhere_gets_no_token_there(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as other:
        other.fail_always("/x", answer([{"id": "owner/last"}]))
        following = {"Link": f'<{other.url}/x>; rel="next"'}
        hub.fail_always("/api/models", answer([{"id": "owner/first"}], headers=following))
        names = client.ask(lambda api: [info.id for info in api.list_models(author="owner")], "a list")
        assert names == ["owner/first", "owner/last"]
        assert [request.headers.get("authorization") for request in other.requests] == [None]


def test_a_renamed_repository_is_followed(hub):
    hub.moved["owner/old"] = "owner/repo"
    assert look_up("owner/old").name == "owner/repo"


def test_a_repository_that_is_not_there_is_told_with_the_nearest(hub):
    error = refused("owner/rep")
    assert error.exit_code == 2
    assert error.code == "model_not_found"
    assert "owner/rep, or it is private" in error.message
    assert 'did you mean "owner/repo"?' in error.fix
    assert "HF_TOKEN" in error.fix
    assert "did you mean" not in refused("nobody/x").fix


def test_a_private_repository_needs_a_token(hub, monkeypatch):
    hub.repos["owner/repo"].private = True
    hub.repos["owner/repo"].tokens = {"hf_member"}
    assert "HF_TOKEN" in refused().fix
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert refused().code == "model_not_found"
    monkeypatch.setenv("HF_TOKEN", "hf_member")
    assert look_up("owner/repo").private is True


def test_a_gated_repository_can_be_looked_at_and_says_so(hub):
    hub.repos["owner/repo"].gated = "auto"
    assert look_up("owner/repo").gated is True


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        (refusal(401, None, "Invalid credentials in Authorization header"), "unauthorized", "token"),
        (refusal(403, None, "Forbidden"), "unauthorized", "does not let this token"),
        (refusal(403, "GatedRepo", "Access restricted"), "gated", "accept its terms"),
        (refusal(403, None, "Access to this resource is disabled."), "source_unavailable", "has disabled"),
        (refusal(404, "RevisionNotFound", "Invalid rev id"), "revision_not_found", "no such branch"),
        (refusal(404, None, "x"), "model_not_found", "no owner/repo"),
        (refusal(418, None, "\x1b[2Jteapot"), "source_unavailable", "418"),
        (refusal(500, None, "x"), "source_unavailable", "500"),
        (refusal(503, None, "x"), "source_unavailable", "503"),
        (answer(b""), "bad_answer", "answer"),
        (answer(b"<html>log in to the hotel's network"), "bad_answer", "answer"),
        (answer(b"\xff\xfe\x00"), "bad_answer", "answer"),
        (answer([]), "bad_answer", "answer"),
        (answer({}), "bad_answer", "answer"),
        (answer("owner/repo"), "bad_answer", "answer"),
        (answer(None), "bad_answer", "answer"),
        (answer({"id": "owner/repo", "siblings": 5}), "bad_answer", "answer"),
        (answer({"id": "owner/repo", "lastModified": "tomorrow"}), "bad_answer", "answer"),
        (answer({"id": "owner/repo", "sha": "x", "siblings": []}), "bad_answer", "commit"),
        (answer(b"[" * 200_000), "bad_answer", "answer"),
        (answer(b"x" * 100, headers={"Content-Encoding": "gzip"}), "bad_answer", "compressed"),
        (redirect(PATH), "bad_answer", "elsewhere"),
        (redirect("ftp://hub/x"), "bad_answer", "elsewhere"),
        (redirect("file:///etc/passwd"), "bad_answer", "elsewhere"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_every_refusal_is_one_sentence_with_a_way_out(hub, said, code, told):
    hub.fail_always(PATH, said)
    error = refused()
    assert error.code == code
    assert told in error.message
    assert "\x1b" not in error.message


def test_a_fault_that_passes_is_not_told(hub):
    hub.fail(PATH, refusal(500, None, "x"), refusal(503, None, "x"))
    assert look_up("owner/repo").name == "owner/repo"
    assert len(hub.requests) == 3


def test_a_hub_that_keeps_failing_is_given_up_soon(hub):
    hub.fail_always(PATH, refusal(502, None, "x"))
    refused()
    assert len(hub.requests) == client.ATTEMPTS


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"RateLimit": '"api";r=0;t=299', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, "for 299 s"),
        ({"Retry-After": "120"}, "for 120 s"),
        ({"RateLimit": '"api";r=0;t=999999999'}, "999,999,999 s"),
        ({"Retry-After": "9" * 500}, "requests"),
    ],
)
def test_a_limit_is_told_at_once_rather_than_waited_for(hub, headers, told):
    hub.fail_always(PATH, answer({"error": "slow down"}, 429, headers))
    started = time.monotonic()
    error = refused()
    assert time.monotonic() - started < 5
    assert error.code == "rate_limited"
    assert told in error.message


def test_a_short_limit_is_waited_for(hub):
    hub.fail(PATH, answer({}, 429, {"Retry-After": "1"}))
    started = time.monotonic()
    look_up("owner/repo")
    assert 1 <= time.monotonic() - started < 5


@pytest.mark.parametrize("retries", [False, True], ids=["one call", "a list"])
def test_a_limit_that_the_client_would_sleep_through_is_told(hub, retries):
    for path in ("/api/models", "/api/models/a/b"):
        hub.fail_always(path, answer({}, 429, {"RateLimit": '"api";r=0;t=3000'}))
    started = time.monotonic()
    with pytest.raises(AuditionError) as caught:
        client.ask(lambda api: list(api.list_models(search="x")) if retries else api.model_info("a/b"), "x")
    assert caught.value.code == "rate_limited"
    assert time.monotonic() - started < 5


def test_an_endless_answer_is_cut(hub, monkeypatch):
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 100_000)
    hub.fail_always(PATH, answer("x" * 200_000))
    assert "larger than" in refused().message


def test_a_hub_that_says_nothing_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(client, "ATTEMPTS", 2)
    hub.fail_always(PATH, Fault(silent=True))
    started = time.monotonic()
    error = refused()
    assert error.code == "no_network"
    assert "does not answer" in error.message
    assert time.monotonic() - started < 4


def test_a_hub_that_drips_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr(client, "TOTAL_S", 0.3)
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    hub.fail_always(PATH, Fault(status=200, body=b"[" * 1000, drip=0.02))
    started = time.monotonic()
    assert "takes longer than" in refused().message
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "fault", [Fault(status=200, body=b"{" * 50, cut=10, reset=True), Fault(status=200, body=b"{" * 50, cut=0)]
)
def test_a_connection_that_breaks_is_tried_again(hub, fault):
    hub.fail(PATH, fault)
    assert look_up("owner/repo").name == "owner/repo"


def test_a_hub_that_is_not_there_is_told_with_what_to_look_at(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    error = refused()
    assert error.code == "no_network"
    assert "127.0.0.1:9" in error.message
    assert "proxy" in error.fix
    assert time.monotonic() - started < 3


def test_the_clients_own_words_are_not_shown(hub, monkeypatch, caplog):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(AuditionError) as caught:
        client.ask(lambda api: list(api.list_models(search="x", limit=1)), "a search")
    assert caught.value.code == "no_network"
    assert time.monotonic() - started < 2
    assert [record for record in caplog.records if record.name.startswith("huggingface_hub")] == []


def test_offline_nobody_is_asked(hub, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "yes")
        error = refused()
        assert error.code == "offline"
        assert name in error.message
        assert "unset it" in error.fix
        monkeypatch.delenv(name)
    assert hub.requests == []
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # as the client has it: the first one that says anything counts
    look_up("owner/repo")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_ENDPOINT"])
def test_an_empty_variable_is_as_none(hub, monkeypatch, name):
    monkeypatch.setenv(name, "")
    if name == "HF_ENDPOINT":
        assert client.endpoint() == "https://huggingface.co"
    else:
        look_up("owner/repo")


@pytest.mark.parametrize(
    "address", ["hub.example", "ftp://hub", "https://", "https://me:secret@hub", "https://hub?x=1", "https://h:x"]
)
def test_an_endpoint_that_is_none_is_told_so(hub, monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    error = refused()
    assert "HF_ENDPOINT" in error.message
    assert "secret" not in error.message


def test_an_endpoint_may_have_a_path(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/mirror/")
    repo = hub.repos["owner/repo"]
    hub.fail_always(f"/mirror{PATH}", answer(repo.described(repo.commit(), True)))
    assert look_up("owner/repo").page == f"{hub.url}/mirror/owner/repo"


def test_a_program_that_uses_the_client_itself_finds_it_as_it_was(hub):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    look_up("owner/repo")
    hub.fail_always(PATH, refusal(500, None, "x"))
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub.url, token=False).model_info("owner/repo")
    hub.fail_always(PATH, answer({"id": "owner/repo", "x": "y" * 40 * 2**20}))
    assert HfApi(endpoint=hub.url, token=False).model_info("owner/repo").id == "owner/repo"


def test_until_a_hub_is_asked_its_client_is_not_loaded():
    code = "import sys, audition.api, audition.store.hub; print({'huggingface_hub', 'httpx2'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
