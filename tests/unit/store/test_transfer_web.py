"""Where a request goes, and what goes along: redirects, credentials, proxies, certificates."""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from audition.errors import AuditionError
from audition.store.transfer.remote_file import RemoteFile
from audition.store.transfer.web import Location, read_range
from downloads import DATA, HALF, PATH, WIDE, fetch, promised, where
from file_server import Fault, FileServer, Response, redirect

SECRET = {"Authorization": "Bearer hf_secret"}


def refused(location, **others):
    with pytest.raises(AuditionError) as caught:
        read_range(location, 0, 10, **others)
    assert "secret" not in caught.value.message
    assert "secret" not in str(caught.value.fix)
    return caught.value


# Redirects and credentials.


@pytest.fixture
def other(settings):
    """Another host's server, which has the same file."""
    with FileServer({PATH: DATA}) as server:
        yield server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(sink, server, other, status):
    server.fail_always(PATH, redirect(other.url + PATH, status))
    fetch(sink, server)
    assert len(other.requests) == 1


def test_credentials_stay_with_their_origin(sink, server, other):
    """The same host by another name, and another port of the same host, are other origins."""
    server.fail_always(PATH, redirect(other.url + "/hop"))
    other.fail_always("/hop", redirect(server.other_url + "/hop"))
    server.fail_always("/hop", redirect(server.url + "/back"))
    server.files["/back"] = DATA
    sink.download(promised(DATA), Location(server.url + PATH, {**SECRET, "Cookie": "secret"}))
    first, named, back = server.requests
    assert first.headers["authorization"] == "Bearer hf_secret"
    for request in (other.requests[0], named, back):
        assert "authorization" not in request.headers
        assert "cookie" not in request.headers


def test_credentials_go_along_within_their_origin(server):
    server.fail_always(PATH, redirect("/elsewhere/m.gguf"))
    server.files["/elsewhere/m.gguf"] = DATA
    assert read_range(Location(server.url + PATH, SECRET), 0, 10)[0] == DATA[:10]
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer hf_secret"] * 2


def test_where_a_redirect_led_is_asked_directly_the_next_time(sink, server, other):
    server.fail_always(PATH, redirect(other.url + PATH))
    other.fail(PATH, Fault(cut=HALF))
    fetch(sink, server)
    assert len(server.requests) == 1
    assert [request.range for request in other.requests] == [None, (HALF, None)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_address_that_has_expired_is_asked_for_again(sink, server, other, status):
    server.fail_always(PATH, redirect(other.url + PATH + "?signature=1"))
    other.fail(PATH, Fault(cut=HALF), Fault(status=status))
    fetch(sink, server)
    assert len(server.requests) == 2
    assert len(other.requests) == 3


def test_one_that_is_refused_at_once_is_told(sink, server, other):
    server.fail_always(PATH, redirect(other.url + PATH))
    other.fail_always(PATH, Fault(status=403))
    with pytest.raises(AuditionError) as caught:
        sink.download(promised(DATA), where(server))
    assert caught.value.code == "unauthorized"
    assert (len(server.requests), len(other.requests)) == (1, 1)


def test_five_redirects_are_followed_and_a_sixth_is_not(server):
    for hop in range(6):
        server.fail_always(f"/{hop}", redirect(f"/{hop + 1}"))
    server.files["/6"] = DATA
    assert read_range(Location(server.url + "/1"), 0, 10)[0] == DATA[:10]
    assert "more than 5 times" in refused(Location(server.url + "/0")).message


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/m.gguf", "http://192.0.2.1/m.gguf", "http://127.0.0.1.example.org/m", "ftp://h/m"),
        *("file:///etc/passwd", "https:///m.gguf", "https://h:99999/m", "https://[::1/m", "m.gguf", "", "https://"),
        "https://user:secret@h/m.gguf",
    ],
)
def test_an_address_that_nobody_should_go_to_is_refused(url, settings):
    error = refused(Location(url))
    assert error.code == "bad_source"
    assert error.fix


def test_plain_http_is_for_who_set_it_themselves(settings, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing leaves this machine
    assert refused(Location("http://hub.example", plain_http=True)).code == "no_network"


@pytest.mark.parametrize("path", ["/a model, ü 模.gguf", "/100%25.gguf", "/a%20b.gguf"])
def test_names_of_any_script_are_asked_for(server, path):
    from urllib.parse import unquote

    server.files[unquote(path)] = DATA
    assert read_range(Location(server.url + path), 0, 10)[0] == DATA[:10]


def test_a_redirect_to_a_name_of_another_script(server):
    server.files["/模.gguf"] = DATA
    server.api = lambda request: (
        Response(302, {"Location": "/模.gguf".encode().decode("latin-1")}) if request.path == PATH else None
    )
    assert read_range(Location(server.url + PATH), 0, 10)[0] == DATA[:10]


def test_what_is_secret_is_not_shown():
    location = Location("https://me:secret@h/m.gguf?token=secret#secret", SECRET)
    assert "secret" not in repr(location.headers) or "secret" not in location.address
    assert location.address == "https://h/m.gguf"
    assert "hf_secret" not in repr(location)


# Proxies.


def test_a_proxy_from_the_environment_is_asked(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.replace("://", "://me:word@"))
    assert read_range(Location("http://hub.example/model.gguf", plain_http=True), 0, 10)[0] == DATA[:10]
    assert server.requests[0].headers["host"] == "hub.example"
    assert server.requests[0].headers["proxy-authorization"] == "Basic bWU6d29yZA=="


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_who_needs_no_proxy_is_asked_directly(server, monkeypatch, name):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "127.0.0.1")
    assert read_range(where(server), 0, 10)[0] == DATA[:10]


def test_a_proxy_for_everything(server, monkeypatch):
    monkeypatch.setenv("all_proxy", server.url)
    assert read_range(Location("http://hub.example/model.gguf", plain_http=True), 0, 10)[0] == DATA[:10]


def test_a_proxy_that_wants_a_password_is_told_so(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    server.fail_always(PATH, Fault(status=407))
    error = refused(Location("http://hub.example/model.gguf", plain_http=True))
    assert error.code == "no_network"
    assert "https_proxy" in error.fix


def test_a_proxy_of_another_kind_is_told_so(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    error = refused(where(server))
    assert "socks5://" in error.message
    assert error.code == "no_network"


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that nobody trusts, and the settings of a server that has it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=DNS:localhost,DNS:hub.test"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.fixture
def secure(settings, certificate):
    with FileServer({PATH: DATA}, tls=certificate[1]) as server:
        yield server


def test_a_certificate_of_ones_own_is_trusted_when_it_is_named(sink, secure, settings, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    settings(WIDE)
    secure.rate = 5_000_000
    assert sink.download(promised(DATA), Location(secure.other_url + PATH)).size == len(DATA)
    assert len(secure.requests) > 1


def test_a_certificate_that_nobody_vouches_for_is_refused(secure):
    error = refused(Location(secure.other_url + PATH, SECRET))
    assert "certificate is not trusted" in error.message
    assert "SSL_CERT_FILE" in error.fix
    assert secure.requests == []


def test_a_certificate_for_another_name_is_refused(secure, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert "certificate is not trusted" in refused(Location(secure.url + PATH)).message
    assert secure.requests == []


def test_https_never_leads_to_http(secure, server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    secure.fail_always(PATH, redirect(server.url + PATH))
    assert "from https to http" in refused(Location(secure.other_url + PATH, plain_http=True)).message
    assert server.requests == []


def test_a_server_that_speaks_no_tls_is_told_so(server):
    error = refused(Location(server.other_url.replace("http:", "https:") + PATH))
    assert error.code == "no_network"
    assert "cannot be reached" in error.message


def test_https_goes_through_a_tunnel_that_does_not_see_the_token(secure, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    heads = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, target):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def tunnel():
        client, _ = listener.accept()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(65536)
        heads.append(head)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        server = socket.create_connection(("127.0.0.1", secure.port))
        threading.Thread(target=pump, args=(client, server), daemon=True).start()
        pump(server, client)

    threading.Thread(target=tunnel, daemon=True).start()
    monkeypatch.setenv("https_proxy", f"http://me:word@127.0.0.1:{listener.getsockname()[1]}")
    assert read_range(Location("https://hub.test/model.gguf", SECRET), 0, 10)[0] == DATA[:10]
    listener.close()
    assert heads[0].startswith(b"CONNECT hub.test:443 HTTP/1.")
    assert b"Basic bWU6d29yZA==" in heads[0]
    assert b"secret" not in heads[0]
    assert secure.requests[0].headers["authorization"] == "Bearer hf_secret"
    assert "proxy-authorization" not in secure.requests[0].headers


def test_a_tunnel_that_is_refused_is_told_so(settings, monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse():
        for _ in range(3):
            client, _ = listener.accept()
            client.recv(65536)
            client.sendall(b"HTTP/1.1 403 Forbidden by policy\r\n\r\n")
            client.close()

    threading.Thread(target=refuse, daemon=True).start()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
    error = refused(Location("https://hub.test/model.gguf"))
    listener.close()
    assert error.code == "no_network"
    assert "403 Forbidden by policy" in error.message


# Parts of files, into memory.


@pytest.mark.parametrize(("start", "count"), [(0, 10), (5, 10), (len(DATA) - 5, 100), (0, len(DATA) + 1)])
def test_a_part_is_read_and_the_size_is_told(server, start, count):
    assert read_range(where(server), start, count) == (DATA[start : start + count], len(DATA))


def test_nothing_is_after_the_end(server):
    assert read_range(where(server), len(DATA), 10) == (b"", len(DATA))


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(status=500), Fault(cut=5), Fault(silent=True), Fault(cut=5, reset=True)),
        *(Fault(headers={"Content-Range": "bytes 0-99/100"}), Fault(headers={"Content-Encoding": "gzip"})),
    ],
)
def test_what_goes_wrong_once_is_tried_again(server, fault):
    server.fail(PATH, fault)
    assert read_range(where(server), 50, 10) == (DATA[50:60], len(DATA))


def test_a_server_without_ranges_gives_the_beginning_only(server):
    server.fail_always(PATH, Fault(no_ranges=True))
    assert read_range(where(server), 0, 10) == (DATA[:10], len(DATA))
    assert "parts of files" in refused_part(server).message
    assert len(server.requests) == 3


def refused_part(server):
    with pytest.raises(AuditionError) as caught:
        read_range(where(server), 50, 10)
    return caught.value


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault(status=404), "not_found"), (Fault(status=401), "unauthorized"), (Fault(stall=0), "stalled")],
)
def test_what_cannot_be_read_is_told(server, fault, code):
    server.fail_always(PATH, fault)
    error = refused(where(server))
    assert error.code == code
    assert "model.gguf" in error.message


def test_a_remote_file_is_read_like_any_other(server):
    remote, local = RemoteFile(where(server), block=1000), io.BytesIO(DATA)
    for position in (0, 10, 999, 5000, 100, len(DATA) - 3, len(DATA), len(DATA) + 10):
        for count in (0, 1, 7, 2000):
            assert remote.seek(position) == local.seek(position)
            assert remote.read(count) == local.read(count)
            assert remote.tell() == local.tell()
    assert remote.seek(-5, 2) == local.seek(-5, 2)
    assert remote.read() == local.read()
    assert remote.seek(3) + remote.seek(4, 1) == 10
    assert (remote.size, remote.readable(), remote.seekable(), remote.writable()) == (len(DATA), True, True, False)
    with pytest.raises(ValueError, match="before"):
        remote.seek(-1)


def test_a_remote_file_fetches_little_and_only_once(server):
    remote = RemoteFile(where(server), block=1000)
    for _ in range(3):
        remote.seek(0)
        remote.read(900)
    assert (remote.requests, remote.fetched) == (1, 1000)
    remote.read(500)
    assert (remote.requests, remote.fetched) == (2, 3000)  # it goes on, so the next block is larger
    remote.seek(HALF)
    remote.read(10)
    assert (remote.requests, remote.fetched) == (3, 4000)
    assert len(server.requests) == 3
    assert server.sent == 4000


def test_a_remote_file_goes_to_where_a_redirect_led(server, other):
    server.fail_always(PATH, redirect(other.url + PATH))
    remote = RemoteFile(where(server), block=1000)
    remote.seek(HALF)
    assert remote.read(10) == DATA[HALF : HALF + 10]
    assert (len(server.requests), len(other.requests)) == (1, 2)


def test_a_header_that_claims_too_much_costs_little(server):
    remote = RemoteFile(where(server), block=1000, most=5000)
    with pytest.raises(AuditionError) as caught:
        remote.read()
    assert caught.value.code == "bad_model_file"
    assert server.sent <= 5000


def test_a_remote_file_of_unknown_size_is_refused(server):
    server.fail_always(PATH, Fault(chunked=True, no_ranges=True))
    with pytest.raises(AuditionError, match="how large"):
        RemoteFile(where(server), block=1000)
