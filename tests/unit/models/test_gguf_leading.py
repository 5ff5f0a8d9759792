"""What stands at the beginning of a GGUF file can be read from any stream, and costs a few kilobytes."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import pytest

from audition.models.gguf import GgufError, read_gguf_facts, read_gguf_header
from ggufs import STRING, Tensor, array_claim, hostile_files, string, tiny_metadata, write_gguf

TOKENS = [f"token {number}" for number in range(50_000)]


class Far(io.RawIOBase):
    """A file that lies elsewhere: it counts what is fetched, and gives at most so many bytes at a time."""

    def __init__(self, path: Path, most: int = 1_000_000) -> None:
        self._stream = path.open("rb")
        self._most = most
        self.fetched = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        found = self._stream.read(min(size, self._most))
        self.fetched += len(found)
        return found

    def close(self) -> None:
        self._stream.close()
        super().close()


def test_leading_facts_are_those_of_the_whole_header(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "big.gguf", metadata=tiny_metadata(tokenizer__ggml__tokens=TOKENS))
    whole = read_gguf_header(path)
    with Far(path) as stream:
        found = read_gguf_facts(stream, path.stat().st_size, "hub/big.gguf", leading=True)
        assert stream.fetched <= 128 * 2**10
    for fact in ("version", "architecture", "name", "licence", "context_length", "kv", "vocab_size", "quantization"):
        assert getattr(found, fact) == getattr(whole, fact), fact
    assert found.kv_cache_bytes(512) == whole.kv_cache_bytes(512)
    assert found.is_leading and not whole.is_leading


def test_what_was_not_read_is_unknown(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "big.gguf", metadata=tiny_metadata(general__file_type=None))
    with path.open("rb") as stream:
        found = read_gguf_facts(stream, path.stat().st_size, "big.gguf", leading=True)
    assert (found.parameters, found.tensor_bytes, found.token_bytes, found.data_offset) == (None, None, None, None)
    assert (found.has_chat_template, found.bos_token_id, found.quantization) == (None, None, None)


def test_of_a_template_before_the_tokens_something_is_known(tmp_path: Path) -> None:
    metadata = {"tokenizer.chat_template": "{{ messages }}", **tiny_metadata(tokenizer__chat_template=None)}
    path = write_gguf(tmp_path / "big.gguf", metadata=metadata)
    with path.open("rb") as stream:
        assert read_gguf_facts(stream, path.stat().st_size, "x", leading=True).has_chat_template is True


@pytest.mark.parametrize("most", [1, 7, 4096, 1_000_000])
def test_a_stream_may_give_less_than_it_is_asked_for(tmp_path: Path, most: int) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tensors=[Tensor("a"), Tensor("b", (64,))])
    with Far(path, most) as stream:
        assert read_gguf_facts(stream, path.stat().st_size, "tiny.gguf") == read_gguf_header(path)


def test_a_file_without_tokens_is_read_to_its_end(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", metadata={"general.architecture": "llama", "llama.context_length": 9})
    with path.open("rb") as stream:
        assert read_gguf_facts(stream, path.stat().st_size, "x", leading=True).context_length == 9


def test_an_error_names_the_file_as_it_was_called() -> None:
    with pytest.raises(GgufError, match=r"hub/x\.gguf is not a GGUF model file"):
        read_gguf_facts(io.BytesIO(b"x" * 100), 100, "hub/x.gguf", leading=True)
    with pytest.raises(GgufError, match="truncated"):
        read_gguf_facts(io.BytesIO(b"GGUF" + struct.pack("<IQQ", 3, 1, 1)), 10**9, "x", leading=True)


def test_a_claim_of_a_hundred_gigabytes_costs_nothing(tmp_path: Path) -> None:
    claims = array_claim(STRING, 2**32, string("a"))
    metadata = tiny_metadata(tokenizer__ggml__tokens=None) | {"tokenizer.ggml.tokens": claims}
    path = write_gguf(tmp_path / "x.gguf", metadata=metadata, size=100 * 2**20)
    with Far(path) as stream:
        assert read_gguf_facts(stream, 100 * 2**30, "x", leading=True).vocab_size == 2**32
        with pytest.raises(GgufError, match="truncated"):
            read_gguf_facts(stream, 30 * 2**30, "x", leading=True)
        assert stream.fetched <= 256 * 2**10


def test_hostile_beginnings_are_refused_before_much_is_fetched(tmp_path: Path) -> None:
    for name, path in hostile_files(tmp_path):
        with Far(path) as stream:
            with contextlib.suppress(GgufError):
                read_gguf_facts(stream, path.stat().st_size, "x", leading=True)
            assert stream.fetched <= 6 * 2**20, name
