"""Whatever the bytes are: the GGUF reader gives a header or a GgufError, soon and in little memory."""

import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.models.gguf import GgufError, read_gguf_header
from audition.models.header import ModelHeader
from ggufs import HOLE, Tensor, hostile_files, tiny_metadata, write_gguf

MAX_SECONDS = 1.0
"""A guard against hangs; the bound of 100 ms is measured in benchmarks/gguf_header.py."""

MAX_BYTES = 64 * 2**20


def outcome(path, seconds=MAX_SECONDS):
    """Read `path`, let nothing through but what is promised, and return it."""
    start = time.perf_counter()
    try:
        found = read_gguf_header(path)
    except GgufError as error:
        found = error
    assert time.perf_counter() - start < seconds
    if isinstance(found, ModelHeader):
        assert ModelHeader.from_json(json.loads(json.dumps(found.to_json()))) == found
        assert found.kv_cache_bytes(4096) is None or found.kv_cache_bytes(4096) >= 0
        assert 24 <= found.data_offset <= path.stat().st_size
    return found


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "valid.gguf"
    metadata = tiny_metadata(llama__attention__head_count_kv=[2, 0], general__alignment=64)
    write_gguf(path, metadata=metadata, tensors=[Tensor("a", (32, 4), 2), Tensor("b", (7,))], alignment=64)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf") / "fuzzed.gguf"


# Numbers at the edges of their types are what breaks readers; random bytes rarely make them.
EDGES = st.sampled_from([0, 1, 2**7, 2**8 - 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
PATCH = st.one_of(
    st.binary(min_size=1, max_size=12),
    EDGES.map(lambda number: (number % 2**32).to_bytes(4, "little")),
    EDGES.map(lambda number: number.to_bytes(8, "little")),
)
WHERE = st.floats(0, 1, exclude_max=True)
EDIT = st.one_of(
    st.tuples(st.just("overwrite"), WHERE, PATCH),
    st.tuples(st.just("insert"), WHERE, PATCH),
    st.tuples(st.just("delete"), WHERE, st.integers(1, 64)),
    st.tuples(st.just("cut"), WHERE, st.none()),
)


@settings(max_examples=500, deadline=None)
@given(edits=st.lists(EDIT, min_size=1, max_size=6))
def test_mutations_of_a_valid_file(valid, scratch, edits):
    content = bytearray(valid)
    for action, where, what in edits:
        at = int(where * len(content))
        if action == "overwrite":
            content[at : at + len(what)] = what
        elif action == "insert":
            content[at:at] = what
        elif action == "delete":
            del content[at : at + what]
        else:
            del content[at:]
    scratch.write_bytes(content)
    outcome(scratch)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=2000), start=st.sampled_from([b"", b"GGUF", b"GGUF\3\0\0\0", b"GGUF\2\0\0\0"]))
def test_random_bytes(scratch, content, start):
    scratch.write_bytes(start + content)
    outcome(scratch)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 300), number=EDGES, size=st.integers(0, HOLE))
def test_every_length_replaced_in_a_file_of_any_size(valid, scratch, at, number, size):
    content = bytearray(valid)
    content[at : at + 8] = number.to_bytes(8, "little")
    scratch.write_bytes(content)
    with scratch.open("r+b") as stream:
        stream.truncate(size)
    outcome(scratch)


SCALARS = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.booleans(),
    st.integers(-(2**31), 2**64 - 1),
    st.floats(width=32),
)
LISTS = st.one_of(
    st.lists(st.text(max_size=300), max_size=300),
    st.lists(st.integers(0, 2**32 - 1), max_size=50),
    st.lists(st.booleans(), max_size=50),
)


@settings(max_examples=200, deadline=None)
@given(
    others=st.dictionaries(st.text(min_size=1, max_size=20).map("x.{}".format), SCALARS | LISTS, max_size=20),
    tokens=st.lists(st.text(max_size=2000), max_size=200),
    template=st.text(max_size=200),
)
def test_every_valid_file_is_read(scratch, others, tokens, template):
    metadata = others | tiny_metadata(tokenizer__ggml__tokens=tokens, tokenizer__chat_template=template)
    header = read_gguf_header(write_gguf(scratch, metadata=metadata))
    assert (header.vocab_size, header.has_chat_template) == (len(tokens), bool(template))
    assert (header.context_length, header.parameters, header.eos_token_id) == (512, 128, 1)
    assert header.data_offset + header.tensor_bytes == scratch.stat().st_size


@pytest.mark.slow
def test_hostile_files_take_little_memory(tmp_path):
    for name, path in hostile_files(tmp_path):
        tracemalloc.start()
        try:
            outcome(path, seconds=60)  # tracing makes it many times slower
            assert tracemalloc.get_traced_memory()[1] < MAX_BYTES, name
        finally:
            tracemalloc.stop()


def test_hostile_files_are_refused_and_costly_valid_ones_read_at_once(tmp_path):
    for name, path in hostile_files(tmp_path):
        found = outcome(path, seconds=5)  # under coverage, on a slow machine
        assert isinstance(found, ModelHeader) == name.startswith("valid"), name
