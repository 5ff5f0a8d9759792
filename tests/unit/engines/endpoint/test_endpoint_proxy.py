import base64

import pytest

from audition.engines.endpoint.address import parse
from audition.engines.endpoint.proxy import Proxy, proxy_for
from audition.errors import UsageError


def test_the_variable_of_the_scheme_comes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", "http://any:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:2")
    assert proxy_for(parse("https://model.test")) == Proxy("secure", 2)
    assert proxy_for(parse("http://model.test")) == Proxy("any", 1)


def test_no_proxy_excludes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "model.test,other.test:81")
    assert proxy_for(parse("http://model.test")) is None
    assert proxy_for(parse("http://other.test:81")) is None
    assert proxy_for(parse("http://other.test:82")) is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_never_goes_through_one(monkeypatch: pytest.MonkeyPatch, host: str):
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    assert proxy_for(parse(f"http://{host}:8080")) is None


def test_name_and_password_are_sent_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:p%40ss@p")
    proxy = proxy_for(parse("http://model.test"))
    assert proxy is not None and proxy.authorization is not None
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")) == b"me:p@ss"
    assert proxy.port == 80
    assert proxy.authorization not in repr(proxy)


@pytest.mark.parametrize("url", ["socks5://p:1", "https://p:1", "http://:s3cret@", "http://p:port"])
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(UsageError) as caught:
        proxy_for(parse("http://model.test"))
    assert "HTTP_PROXY" in str(caught.value.fix)
    assert "s3cret" not in str(caught.value)
