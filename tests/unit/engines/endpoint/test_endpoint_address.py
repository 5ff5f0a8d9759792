import pytest

from audition.engines.endpoint import normalised
from audition.engines.endpoint.address import parse
from audition.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("localhost", "http://localhost/v1"),
        ("http://h:1/", "http://h:1/v1"),
        (" https://H.example/v1/ ", "https://h.example/v1"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1"),
        ("http://h:1/chat/completions/", "http://h:1/v1"),
        ("http://h/v1/models", "http://h/v1"),
        ("https://h/openai/v1", "https://h/openai/v1"),
        ("[::1]:8080", "http://[::1]:8080/v1"),
        ("http://münchen.example", "http://xn--mnchen-3ya.example/v1"),
    ],
)
def test_what_is_typed_becomes_one_base_address(typed: str, meant: str):
    assert normalised(typed) == meant
    assert normalised(meant) == meant


@pytest.mark.parametrize(
    "typed",
    [
        *("", "http://", "ftp://h/v1", "http:/h", "http://h:port", "http://h:70000", "h:0", "a b", "::1"),
        *(
            "http://h/v1?key=1",
            "http://h/v1#x",
            "http://h/v 1",
            "http://h/\r\nX: y",
            "http://h\r\nX: y/",
            "http://[::1",
        ),
    ],
)
def test_nonsense_is_refused_with_the_fix(typed: str):
    with pytest.raises(UsageError) as caught:
        normalised(typed)
    assert caught.value.fix


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        normalised("http://me:s3cret@h/v1")
    assert "s3cret" not in f"{caught.value} {caught.value.fix}"
    with pytest.raises(UsageError) as caught:
        normalised("http://me:s3cret@h:port/v1")
    assert "s3cret" not in f"{caught.value}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.9.9.9", True), ("[::1]", True), ("10.0.0.1", False), ("localhost.example", False)],
)
def test_loopback(host: str, loopback: bool):
    assert parse(f"http://{host}:1").is_loopback is loopback
