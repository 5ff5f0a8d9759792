"""A hub on loopback that speaks Hugging Face's language: the API, the files, and a second host that large files come from.

The shape of everything is what `huggingface_hub` 2.4.0 sends and accepts, and what its error classes look for.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = (".gguf", ".safetensors", ".onnx", ".data", ".bin")
"""Files that Git LFS keeps: the hub gives their SHA-256, and has them fetched from elsewhere."""
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456789"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Response:
    """What a server answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What a server was asked; the names of `headers` are in lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


def as_json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})


def refusal(status: int, code: str | None, message: str) -> Response:
    """An error as the hub says it: the class is in a header."""
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return as_json({"error": message}, status, headers)


@dataclass
class Repo:
    """A repository on the hub.

    Attributes:
        files: Those of the branch `main`, by path.
        card: The metadata of its model card.
        tokens: Who may read it, where it is private or gated.
        facts: Further fields of the hub's answer, and fields to overwrite: what a hostile hub says.
    """

    name: str
    files: dict[str, bytes]
    card: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=lambda: ["gguf"])
    private: bool = False
    gated: bool | str = False
    disabled: bool = False
    tokens: set[str] = field(default_factory=set)
    downloads: int = 1000
    likes: int = 10
    facts: dict[str, Any] = field(default_factory=dict)
    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, revision: str | None = None) -> str | None:
        """The commit that a branch, a tag, a reference or a commit stands for."""
        if revision in self.commits:
            return revision
        files = self.files if revision in (None, "main") else self.branches.get(revision)
        if files is None:
            return None
        listing = "".join(f"{path} {sha256(content)}\n" for path, content in sorted(files.items()))
        commit = hashlib.sha1(f"{self.name}\n{listing}".encode()).hexdigest()
        self.commits[commit] = dict(files)  # a branch that moves on leaves its commits behind
        return commit

    def described(self, commit: str, blobs: bool) -> dict[str, Any]:
        siblings = [_sibling(path, content, blobs) for path, content in self.commits[commit].items()]
        return {
            "_id": "0" * 24,
            "id": self.name,
            "modelId": self.name,
            "author": self.name.partition("/")[0],
            "sha": commit,
            "lastModified": "2026-02-03T04:05:06.000Z",
            "createdAt": "2025-02-03T04:05:06.000Z",
            "private": self.private,
            "gated": self.gated,
            "disabled": self.disabled,
            "downloads": self.downloads,
            "likes": self.likes,
            "tags": self.tags,
            "library_name": "gguf",
            "pipeline_tag": "text-generation",
            "cardData": self.card,
            "siblings": siblings,
            "spaces": [],
            "usedStorage": sum(map(len, self.files.values())),
            **self.facts,
        }


def _sibling(path: str, content: bytes, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    described: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
    if path.endswith(LARGE):
        described["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
    return described


class HubServer:
    """The hub.

    Attributes:
        repos: The repositories, by name.
        moved: New names of renamed repositories, by the old ones.
        canned: Answers given instead of the hub's own, by the beginning of the path: a list is used up one by one.
        requests: What the hub was asked.
        cdn: The host that large files come from.
        page: Rows on a page of a list.
    """

    def __init__(self, *repos: Repo) -> None:
        self.repos = {repo.name: repo for repo in repos}
        self.moved: dict[str, str] = {}
        self.canned: dict[str, list[Response] | Response] = {}
        self.page = 100
        self.cdn = PlainServer(self._from_cdn, "127.0.0.1")
        self.api = PlainServer(self._answer, "localhost")

    @property
    def url(self) -> str:
        return self.api.url

    @property
    def requests(self) -> list[Request]:
        return self.api.requests

    def close(self) -> None:
        self.api.close()
        self.cdn.close()

    def _answer(self, request: Request) -> Response:
        for start, canned in self.canned.items():
            if request.path.startswith(start) and canned:
                return canned.pop(0) if isinstance(canned, list) else canned
        if request.path == "/api/models":
            return self._listed(request)
        if request.path.startswith("/api/models/"):
            return self._described(request)
        if "/resolve/" in request.path:
            return self._resolved(request)
        return refusal(404, None, "Not found")

    def _listed(self, request: Request) -> Response:
        query = {key: values[0] for key, values in request.query.items()}
        wanted = query.get("search", "").lower()
        rows = [
            repo
            for repo in self.repos.values()
            if wanted in repo.name.lower()
            and set(request.query.get("filter", [])) <= set(repo.tags)
            and query.get("author") in (None, repo.name.partition("/")[0])
            and (not repo.private or _token(request) in repo.tokens)
        ]
        if query.get("sort") in ("downloads", "likes"):
            rows.sort(key=lambda repo: -getattr(repo, query["sort"]))
        start = int(query.get("cursor", 0))
        size = min(self.page, int(query.get("limit", 1000)))
        page, rest = rows[start : start + size], rows[start + size :]
        fields = ("_id", "id", "downloads", *request.query.get("expand", ["likes", "tags"]))
        described = [{key: repo.described(repo.commit() or "", False).get(key) for key in fields} for repo in page]
        headers = {}
        if rest:
            again = [(key, value) for key, values in request.query.items() if key != "cursor" for value in values]
            target = "&".join(f"{key}={quote(value)}" for key, value in [*again, ("cursor", str(start + size))])
            headers["Link"] = f'<{self.url}/api/models?{target}>; rel="next"'
        return as_json(described, headers=headers)

    def _described(self, request: Request) -> Response:
        # A slash inside a revision arrives as %2F, so the path is taken apart before it is decoded.
        parts = urlsplit(request.target).path.removeprefix("/api/models/").split("/")
        name, revision = "/".join(parts[:2]), unquote(parts[3]) if parts[2:3] == ["revision"] else None
        if name in self.moved:
            rest = "".join(f"/{part}" for part in parts[2:])
            query = urlsplit(request.target).query
            return Response(307, b"", {"Location": f"/api/models/{self.moved[name]}{rest}?{query}"})
        repo, problem = self._readable(name, request, for_files=False)
        if repo is None:
            return problem
        commit = repo.commit(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return as_json(repo.described(commit, "blobs" in request.query))

    def _resolved(self, request: Request) -> Response:
        before, _, after = request.path.removeprefix("/").partition("/resolve/")
        name = self.moved.get(before, before)
        repo, problem = self._readable(name, request, for_files=True)
        if repo is None:
            return problem
        revision, _, path = after.partition("/")
        commit = repo.commit(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", "Invalid rev id")
        content = repo.commits[commit].get(path)
        if content is None:
            return refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not path.endswith(LARGE):
            return ranged(content, request, headers | {"ETag": f'"{git_sha1(content)}"'})
        headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        target = f"{self.cdn.url}/{name}/{commit}/{quote(path)}?signature=s3cret"
        return Response(302, b"", headers | {"Location": target})

    def _from_cdn(self, request: Request) -> Response:
        owner, repo, commit, path = request.path.removeprefix("/").split("/", 3)
        assert request.query["signature"] == ["s3cret"]
        content = self.repos[f"{owner}/{repo}"].commits[commit][path]
        return ranged(content, request, {"ETag": f'"{sha256(content)}"'})

    def _readable(self, name: str, request: Request, *, for_files: bool) -> tuple[Repo | None, Response]:
        token = _token(request)
        if token is not None and token not in {TOKEN, *(t for repo in self.repos.values() for t in repo.tokens)}:
            return None, refusal(401, None, "Invalid credentials in Authorization header")
        repo = self.repos.get(name)
        if repo is None or (repo.private and token not in repo.tokens):
            return None, refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.disabled:
            return None, refusal(403, None, "Access to this resource is disabled.")
        if repo.gated and for_files and token not in repo.tokens:
            return None, refusal(403 if token else 401, "GatedRepo", "Access to this model is restricted.")
        return repo, Response()


def ranged(content: bytes, request: Request, headers: dict[str, str]) -> Response:
    """A file's bytes, or the range of them that is asked for."""
    asked = request.headers.get("range", "")
    if not asked or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        return Response(200, content, headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last) + 1 if last else len(content), len(content))
    if start >= len(content):
        return Response(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
    told = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(206, content[start:end], headers | {"Content-Range": told})


def _token(request: Request) -> str | None:
    return request.headers.get("authorization", "").removeprefix("Bearer ") or None


class PlainServer:
    """An HTTP server on loopback around one function."""

    def __init__(self, answer: Any, host: str) -> None:
        self.requests: list[Request] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
                outer.requests.append(request)
                response = answer(request)
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in response.headers:
                    self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(response.body)
                    outer.sent += len(response.body)

            do_HEAD = do_GET

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(*repos: Repo) -> Iterator[HubServer]:
    """Serve repositories."""
    hub = HubServer(*repos)
    try:
        yield hub
    finally:
        hub.close()
