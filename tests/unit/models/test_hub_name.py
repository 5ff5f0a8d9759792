"""Names on a hub, and addresses on the web."""

import pytest

from audition.errors import UsageError
from audition.models.hub_name import HubName, is_hub_name, parse_hub_name
from audition.models.web_name import is_web_name, parse_web_name

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:owner/repo", HubName("owner/repo")),
        ("hf:owner/repo:Q4_K_M", HubName("owner/repo", "Q4_K_M")),
        ("hf:owner/repo:Q4_K_M@main", HubName("owner/repo", "Q4_K_M", "main")),
        ("hf:owner/repo@refs/pr/1", HubName("owner/repo", None, "refs/pr/1")),
        ("hf:o/r:cpu/int4-rtn-32@v1.0", HubName("o/r", "cpu/int4-rtn-32", "v1.0")),
        ("hf:O_1/Qwen2.5-0.5B_x:UD-Q4_K_XL", HubName("O_1/Qwen2.5-0.5B_x", "UD-Q4_K_XL")),
        ("hf:o/r@" + "a" * 40, HubName("o/r", None, "a" * 40)),
    ],
)
def test_a_hub_name_says_repository_variant_and_revision(text, expected):
    assert is_hub_name(text)
    assert parse_hub_name(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:repo",
        "hf:a/b/c",
        "hf:../b",
        "hf:a/..",
        "hf:a/b:",
        "hf:a/b@",
        "hf:a/b:../x",
        "hf:a/b@../x",
        "hf:a//b",
        "hf:a/b c",
        "hf:a/b\n",
        "hf:-a/b",
        "hf:a/b.",
        "hf:a--b/c",
        "hf:a/b:x\0",
        "hf:a/b@x y",
        "hf:a/" + "b" * 200,
        "hf:https://hub/a/b",
        "hf:a/b@~1",
        "hf:a/b:/x",
        "hf:ü/b",
        "hf:a/b@x//y",
        "hf:a/b@-x",
    ],
)
def test_what_is_no_hub_name_is_told_so(text):
    with pytest.raises(UsageError) as caught:
        parse_hub_name(text)
    assert "hf:owner/repo" in caught.value.fix
    assert "\n" not in caught.value.message


def test_an_address_says_where_the_file_is_and_what_it_has_to_be():
    web = parse_web_name(f"https://host.example:8443/a/b/my-model.gguf?x=1#sha256={SHA256.upper()}")
    assert web.url == "https://host.example:8443/a/b/my-model.gguf?x=1"
    assert (web.file.name, web.file.sha256, web.file.size) == ("my-model.gguf", SHA256, None)


def test_an_address_may_leave_the_digest_to_the_catalog():
    assert parse_web_name("https://h/m.gguf").file.sha256 is None
    assert parse_web_name("https://h/m.gguf", SHA256).file.sha256 == SHA256
    assert parse_web_name(f"https://h/m.gguf#sha256={SHA256}", SHA256).file.sha256 == SHA256


@pytest.mark.parametrize("last", ["", "%2e%2e", "..%2fx", "a%00b", "%1b[2J.gguf", ".hidden", "a%20b.gguf"])
def test_the_name_of_a_file_never_leads_elsewhere(last):
    assert parse_web_name(f"https://h/{last}").file.name == "model.gguf"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://", "no address"),
        ("https:///x.gguf", "no address"),
        ("https://h:99999/x", "no address"),
        ("https://[h/x", "no address"),
        ("https://h/a b", "no address"),
        ("https://h/a\n", "no address"),
        ("https://h/ü.gguf", "no address"),
        ("https://h/" + "x" * 3000, "no address"),
        ("https://me:secret@h/x", "password"),
        ("https://me@h/x", "password"),
        ("http://h.example/x", "not encrypted"),
        ("http://127.0.0.1.example/x", "not encrypted"),
        ("https://h/x#md5=1", "no SHA-256"),
        ("https://h/x#sha256=12", "no SHA-256"),
        ("https://h/x#", "no SHA-256"),
    ],
)
def test_what_is_no_address_is_told_so(text, why):
    with pytest.raises(UsageError, match=why) as caught:
        parse_web_name(text)
    assert "secret" not in caught.value.message
    assert caught.value.fix
    assert "\n" not in caught.value.message


def test_two_digests_that_differ_are_refused():
    with pytest.raises(UsageError, match="two different"):
        parse_web_name(f"https://h/x.gguf#sha256={'0' * 64}", SHA256)


@pytest.mark.parametrize("text", ["http://localhost:1/x.gguf", "http://127.0.0.1/x", "http://[::1]:8/x", "HTTPS://h/x"])
def test_this_machine_needs_no_encryption(text):
    assert is_web_name(text)
    assert parse_web_name(text).url == text


@pytest.mark.parametrize("text", ["hf:a/b", "file:x", "https", "ftp://x/y", "smollm2-135m"])
def test_other_names_are_no_addresses(text):
    assert not is_web_name(text)
