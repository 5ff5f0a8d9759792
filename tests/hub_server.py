"""A hub on loopback that speaks Hugging Face's language: the API, files, and a second host that large ones come from.

The shape of everything is what `huggingface_hub` 2.4.0 sends and accepts, and what its error classes look for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from file_server import Fault, FileServer, Request, Response

LARGE = (".gguf", ".safetensors", ".onnx", ".data", ".bin")
"""Files that Git LFS keeps: the hub gives their SHA-256, and has them fetched from elsewhere."""
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456789"


@lru_cache(maxsize=100)
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=100)
def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Fault:
    """What a hub is to say instead: `hub.fail(path, answer(...))`; bytes are sent as they are."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Fault(status=status, headers={"Content-Type": "application/json", **(headers or {})}, body=body)


def refusal(status: int, code: str | None, message: str) -> Fault:
    """An error as the hub says it: the class is in a header."""
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return answer({"error": message}, status, headers)


def _response(fault: Fault) -> Response:
    return Response(fault.status or 200, {k: v for k, v in fault.headers.items() if v is not None}, fault.body or b"")


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


class HubServer(FileServer):
    """The hub; `fail` and `fail_always` have it misbehave.

    Attributes:
        repos: The repositories, by name.
        moved: New names of renamed repositories, by the old ones.
        cdn: The host that large files come from.
        cdn_url: Its address as the hub gives it.
        page: Rows on a page of a list.
    """

    def __init__(self, *repos: Repo) -> None:
        self.repos = {repo.name: repo for repo in repos}
        self.moved: dict[str, str] = {}
        self.page = 100
        self.cdn = FileServer()
        self.cdn_url = self.cdn.url
        super().__init__()

    def close(self) -> None:
        self.cdn.close()
        super().close()

    def api(self, request: Request) -> Response | None:
        if request.path == "/api/models":
            return self._listed(request)
        if request.path.startswith("/api/models/"):
            return self._described(request)
        if "/resolve/" in request.path:
            return self._resolved(request)
        return None

    def _listed(self, request: Request) -> Response:
        fields = parse_qs(request.query)
        query = {key: values[0] for key, values in fields.items()}
        wanted = query.get("search", "").lower()
        rows = [
            repo
            for repo in self.repos.values()
            if wanted in repo.name.lower()
            and set(fields.get("filter", [])) <= set(repo.tags)
            and query.get("author") in (None, repo.name.partition("/")[0])
            and (not repo.private or _token(request) in repo.tokens)
        ]
        if query.get("sort") in ("downloads", "likes"):
            rows.sort(key=lambda repo: -getattr(repo, query["sort"]))
        start = int(query.get("cursor", 0))
        size = min(self.page, int(query.get("limit", 1000)))
        page, rest = rows[start : start + size], rows[start + size :]
        shown = ("_id", "id", "downloads", *fields.get("expand", ["likes", "tags"]))
        described = [{key: repo.described(repo.commit() or "", False).get(key) for key in shown} for repo in page]
        headers = {}
        if rest:
            again = [(key, value) for key, values in fields.items() if key != "cursor" for value in values]
            target = "&".join(f"{key}={quote(value)}" for key, value in [*again, ("cursor", str(start + size))])
            headers["Link"] = f'<{self.url}/api/models?{target}>; rel="next"'
        return _response(answer(described, headers=headers))

    def _described(self, request: Request) -> Response:
        asked, _, revision = request.path.removeprefix("/api/models/").partition("/revision/")
        if asked in self.moved:
            rest = f"/revision/{quote(revision, safe='')}" if revision else ""
            target = f"/api/models/{self.moved[asked]}{rest}?{request.query}"
            return Response(307, {"Location": target})
        repo, problem = self._readable(asked, request, for_files=False)
        if repo is None:
            return problem
        commit = repo.commit(revision or None)
        if commit is None:
            return _response(refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}"))
        return _response(answer(repo.described(commit, "blobs=" in request.query)))

    def _resolved(self, request: Request) -> Response | None:
        before, _, after = request.path.removeprefix("/").partition("/resolve/")
        name = self.moved.get(before, before)
        repo, problem = self._readable(name, request, for_files=True)
        if repo is None:
            return problem
        revision, _, path = after.partition("/")
        commit = repo.commit(revision)
        if commit is None:
            return _response(refusal(404, "RevisionNotFound", "Invalid rev id"))
        content = repo.commits[commit].get(path)
        if content is None:
            return _response(refusal(404, "EntryNotFound", "Entry not found"))
        if not path.endswith(LARGE):
            self.files[request.path] = content
            self.etags[request.path] = f'"{git_sha1(content)}"'
            return None
        at_cdn = f"/{name}/{commit}/{path}"
        self.cdn.files[at_cdn] = content
        self.cdn.etags[at_cdn] = f'"{sha256(content)}"'
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{sha256(content)}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.cdn_url}{quote(at_cdn)}?signature=s3cret",
        }
        return Response(302, headers)

    def _readable(self, name: str, request: Request, *, for_files: bool) -> tuple[Repo | None, Response]:
        token = _token(request)
        if token is not None and token not in {TOKEN, *(t for repo in self.repos.values() for t in repo.tokens)}:
            return None, _response(refusal(401, None, "Invalid credentials in Authorization header"))
        repo = self.repos.get(name)
        if repo is None or (repo.private and token not in repo.tokens):
            return None, _response(refusal(404 if token else 401, "RepoNotFound", "Repository not found"))
        if repo.disabled:
            return None, _response(refusal(403, None, "Access to this resource is disabled."))
        if repo.gated and for_files and token not in repo.tokens:
            return None, _response(refusal(403 if token else 401, "GatedRepo", "Access to this model is restricted."))
        return repo, Response()


def _token(request: Request) -> str | None:
    return request.headers.get("authorization", "").removeprefix("Bearer ") or None


def use(hub: HubServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have this process ask the hub, without a token: what `hf auth login` writes would be in `folder`."""
    import huggingface_hub.constants
    from huggingface_hub.utils import close_session

    from audition.store.hub import client, lookup
    from audition.store.transfer import settings

    close_session()  # of an earlier test, whose hub is gone
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(client, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(lookup, "FRESH_S", 0.0)
    quick = replace(settings.SETTINGS, first_wait_s=0.01, longest_wait_s=0.05)
    monkeypatch.setattr(settings, "SETTINGS", quick)


@contextmanager
def serving(*repos: Repo) -> Iterator[HubServer]:
    """Serve repositories."""
    hub = HubServer(*repos)
    try:
        yield hub
    finally:
        hub.close()
