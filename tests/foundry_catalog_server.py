"""What stands behind Foundry Local's SDK, on loopback: its catalog, its registry of where a model is, and the blobs.

The SDK finds the registry by a host name of its own, so this is its proxy, too, and speaks TLS as that host. The shape
of everything is what `foundry-local-sdk` 2.2.1 sends and accepts.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

CATALOG_PATH = "/asset-gallery/v1.0/models"
NOWHERE = f"http://127.0.0.1:9{CATALOG_PATH}"
REGISTRY = "*.api.azureml.ms"


def entry(name: str = "tiny-generic-cpu", version: Any = 2, alias: str = "tiny", **fields: Any) -> dict[str, Any]:
    """One model, as the catalog describes it."""
    asset = "azureml://registries/azureml/models"
    metadata = {
        "modelType": "ONNX",
        "device": fields.pop("device", "cpu"),
        "executionProvider": fields.pop("execution_provider", "CPUExecutionProvider"),
        "fileSizeBytes": fields.pop("size", 90_000_000),
        "quantization": fields.pop("quantization", ["RTN"]),
    }
    return {
        "assetId": f"{asset}/{name}/versions/{version}",
        "entityId": f"entity-{name}",
        "name": name,
        "version": str(version),
        "displayName": f"{alias}, for people",
        "publisher": "Contoso",
        "license": "apache-2.0",
        "createdTime": "2026-01-02T03:04:05Z",
        "inferenceTasks": ["chat-completion"],
        "modelCapabilities": ["tool-calling"],
        "modelLimits": {
            "textLimits": {"inputContextWindow": 8192, "maxOutputTokens": 2048},
            "supportedInputModalities": ["text"],
            "supportedOutputModalities": ["text"],
        },
        "variantInformation": {
            "parents": [{"assetId": f"{asset}/{alias}/versions/1"}],
            "variantMetadata": metadata,
        },
        **fields,
    }


class FoundryService:
    """The service. `answer` is what the catalog says instead of its models; `hangs_at` is a blob that never comes."""

    def __init__(self, folder: Path, models: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.models = models
        self.answer: tuple[int, bytes] | None = None
        self.hangs = False
        self.hangs_at: str | None = None
        self.requests: list[str] = []
        self.ended = threading.Event()
        self.tls: ssl.SSLContext | None = None
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{CATALOG_PATH}"

    def asked(self, what: str) -> int:
        """How many requests had these words in them."""
        return sum(what in request for request in self.requests)

    def behind_tls(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the registry as well: the SDK reaches it through this proxy, and trusts its certificate."""
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl program")
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        name = ["-subj", f"/CN={REGISTRY}", "-addext", f"subjectAltName=DNS:{REGISTRY}"]
        subprocess.run([*command.split(), *files, *name], check=True, capture_output=True)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{self.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are part of the tests."""


def _handler(service: FoundryService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.note()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if service.hangs:
                service.ended.wait(60)
            status, body = service.answer or (200, json.dumps({"summaries": service.models}).encode())
            self.reply(status, body)

        def do_CONNECT(self) -> None:
            self.note()
            assert service.tls is not None
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.connection = service.tls.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
            self.close_connection = False

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.note()
            address = urlsplit(self.path)
            if "/modelregistry/" in address.path:
                self.reply(200, json.dumps({"blobSasUri": f"http://127.0.0.1:{service.port}/blobs?sig=x"}).encode())
            elif parse_qs(address.query).get("comp") == ["list"]:
                self.reply(200, _blob_list(service.folder), "application/xml")
            else:
                self.blob(service.folder / Path(unquote(address.path)).name)

        def blob(self, path: Path) -> None:
            if path.name == service.hangs_at and self.command == "GET":
                service.ended.wait(60)
            content = path.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range") or "")
            headers = {
                "ETag": '"1"',
                "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
                "x-ms-creation-time": "Thu, 01 Jan 2026 00:00:00 GMT",
                "x-ms-blob-type": "BlockBlob",
                "x-ms-lease-status": "unlocked",
                "x-ms-lease-state": "available",
                "x-ms-server-encrypted": "true",
            }
            if asked is None:
                self.reply(200, content, "application/octet-stream", **headers)
                return
            start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self.reply(206, content[start : end + 1], "application/octet-stream", **headers)

        def reply(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def note(self) -> None:
            service.requests.append(f"{self.command} {self.path}")

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _blob_list(folder: Path) -> bytes:
    blobs = "".join(
        f"<Blob><Name>{path.name}</Name><Properties><Content-Length>{path.stat().st_size}</Content-Length>"
        "<Etag>1</Etag><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><BlobType>BlockBlob</BlobType>"
        "</Properties></Blob>"
        for path in sorted(folder.iterdir())
    )
    return (
        f"<EnumerationResults ContainerName='blobs'><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>".encode()
    )


def write_model(folder: Path) -> Path:
    """Write a folder that has everything a model for ONNX Runtime GenAI has, except sense."""
    folder.mkdir(parents=True)
    weights = bytes(range(256)) * 40
    dims, float_type, name = b"\x08\x80\x14", b"\x10\x01", _field(8, b"w")  # 2560 floats
    graph = _field(5, dims + float_type + name + _field(9, weights))
    (folder / "model.onnx").write_bytes(b"\x08\x0a" + _field(7, graph))
    config = {
        "model": {
            "type": "llama",
            "context_length": 2048,
            "eos_token_id": 2,
            "vocab_size": 100,
            "decoder": {
                "filename": "model.onnx",
                "hidden_size": 64,
                "head_size": 16,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "num_hidden_layers": 1,
            },
        },
        "search": {"max_length": 2048},
    }
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return folder


def _field(number: int, content: bytes) -> bytes:
    """Return one length-delimited field of a protobuf message."""
    size, length = b"", len(content)
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content
