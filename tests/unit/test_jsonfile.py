"""JSON in: the place of every fault. JSON out: all of it or nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from audition import jsonfile
from audition.errors import UsageError
from audition.jsonfile import dumps, parse_json, read_json, validate, write_json, write_text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "prompts.json"


def refusal(content, path):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_json(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


# Reading.


def test_a_document_is_read(path):
    path.write_text('{"a": [1, 2.5, true, null, "ü"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, True, None, "ü"]}


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(path):
    path.write_bytes(b'\xef\xbb\xbf{\r\n"a": 1\r\n}\r\n')
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "place", "shown"),
    [
        ('{"a": 1\n "b": 2}', "line 2, column 2", '"b": 2}'),
        ('{"a": 1,\n "b": }', "line 2, column 7", '"b": }'),
        ("[1,\r\n 2,\r\n x]", "line 3, column 2", "x]"),
        ("{'a': 1}", "line 1, column 2", "{'a': 1}"),
        ('{"a": "one\ntwo"}', "line 1, column 11", '{"a": "one'),
        ('{"a": "\u2028"\n, x}', "line 2, column 3", ", x}"),
        ('{"a": 1} trailing', "line 1, column 10", '{"a": 1} trailing'),
    ],
)
def test_broken_json_is_told_by_line_column_and_what_stands_there(path, content, place, shown):
    error = refusal(content, path)
    assert f"not valid JSON: {place}: " in error.message
    assert error.fix == f"look at: {shown}"


def test_in_one_very_long_line_the_place_itself_is_shown(path):
    error = refusal("[" + "1, " * 10_000 + "here]" + ", 2" * 10_000, path)
    assert "line 1, column 30002" in error.message
    assert "here]" in error.fix
    assert len(error.fix) < 80


@pytest.mark.parametrize("content", ['{"a": 1,\n', "[1, 2\n\n\n", '{"a":\n  '])
def test_a_file_that_was_cut_off_is_told_so(path, content):
    error = refusal(content, path)
    assert re.search(r"line \d+, column \d+", error.message)
    assert error.fix == "the file ends before it is complete"


@pytest.mark.parametrize("content", ["", "  \n\n", "\ufeff"])
def test_an_empty_file_is_told_so(path, content):
    assert refusal(content, path).fix == "the file is empty"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_refused(path, number):
    assert number in refusal(f'{{"a": [{number}]}}', path).message


def test_a_number_with_thousands_of_digits_is_refused(path):
    refusal("9" * 5_000, path)


def test_a_repeated_key_is_refused_at_any_depth(path):
    assert '"b" stands twice' in refusal('{"a": [{"b": 1, "b": 2}]}', path).message
    path.write_text('[{"b": 1}, {"b": 2}]', encoding="utf-8")
    assert read_json(path) == [{"b": 1}, {"b": 2}]


def test_text_that_is_not_utf8_is_told_by_its_byte(path):
    error = refusal(b'{"a": "caf\xe9"}', path)
    assert "not UTF-8" in error.message
    assert "byte 10" in error.message
    assert error.fix == "save it as UTF-8"


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_refused(path, bracket):
    assert "nested too deeply" in refusal(bracket * 100_000, path).message


def test_a_file_that_no_person_wrote_is_refused_unread(path):
    with path.open("wb") as stream:
        stream.truncate(100 * 2**30 if os.name == "posix" else jsonfile.MAX_BYTES + 1)
    with pytest.raises(UsageError, match="larger than 64 MB"):
        read_json(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device")
def test_what_never_ends_is_refused(tmp_path):
    """A repository can bring a link with it."""
    (tmp_path / "models.lock").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="larger than 64 MB"):
        read_json(tmp_path / "models.lock")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*gone\.json: No such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(UsageError, match=r"cannot read .*directory|cannot read .*denied"):
        read_json(tmp_path)


def test_text_that_is_no_file_is_named_as_told():
    with pytest.raises(UsageError, match=r"^the answer is not valid JSON: line 1, column 1"):
        parse_json("oops", "the answer")


# Checking.


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["user", "system"]
    content: str = Field(alias="text")


class Case(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt: str | None = None
    messages: list[Message] = []
    labels: dict[str, Annotated[Message, Field(description="nested")]] = {}
    pair: tuple[Message, ...] = ()

    @model_validator(mode="after")
    def _something_to_ask(self) -> Case:
        if self.prompt == "":
            raise ValueError("Nothing is asked")
        return self


class Suite(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cases: list[Case]
    defaults: Case | None = None
    by_name: dict[str, list[Case]] = {}


class Book(RootModel[dict[str, Suite]]):
    pass


def fault(data, model=Suite):
    with pytest.raises(UsageError) as caught:
        validate(model, data, "x.json")
    assert caught.value.code == "invalid_file"
    return caught.value


MESSAGE = {"role": "user", "text": "hi"}


@pytest.mark.parametrize(
    ("model", "data", "place", "suggestion"),
    [
        (Suite, {"cases": [], "defaluts": {}}, "defaluts", "defaults"),
        (Suite, {"cases": [{}, {"promt": "x"}]}, "cases[1].promt", "prompt"),
        (Suite, {"cases": [], "defaults": {"promt": "x"}}, "defaults.promt", "prompt"),
        (Suite, {"cases": [{"messages": [MESSAGE | {"rol": 1}]}]}, "cases[0].messages[0].rol", "role"),
        (Suite, {"cases": [{"messages": [MESSAGE | {"txt": 1}]}]}, "cases[0].messages[0].txt", "text"),
        (Suite, {"cases": [{"pair": [MESSAGE, MESSAGE | {"rol": 1}]}]}, "cases[0].pair[1].rol", "role"),
        (Suite, {"cases": [{"labels": {"k": MESSAGE | {"rol": 1}}}]}, "cases[0].labels.k.rol", "role"),
        (Suite, {"cases": [], "by_name": {"cases": [{"promt": 1}]}}, "by_name.cases[0].promt", "prompt"),
        (Book, {"my-book": {"cases": [], "defaluts": {}}}, "my-book.defaluts", "defaults"),
        # The names of dictionary entries may well be those of fields.
        (Book, {"cases": {"cases": [{"promt": 1}]}}, "cases.cases[0].promt", "prompt"),
        (Book, {"root": {"cases": [], "by-name": {}}}, "root.by-name", "by_name"),
    ],
)
def test_an_unknown_key_is_told_by_its_path_and_the_nearest_key(model, data, place, suggestion):
    error = fault(data, model)
    key = re.split(r"[.\]]", place)[-1]
    assert error.message == f'x.json: {place}: unknown key "{key}"'
    assert error.fix == f'did you mean "{suggestion}"?'


def test_an_unknown_key_like_no_other_gets_the_list_of_keys():
    assert fault({"cases": [{"zzz": 1}]}).fix == "known keys: prompt, messages, labels, pair"


def test_a_mistyped_key_is_told_rather_than_the_key_that_it_leaves_missing():
    error = fault({"csaes": []})
    assert error.message == 'x.json: csaes: unknown key "csaes"'
    assert error.fix == 'did you mean "cases"?'


def test_a_wrong_value_is_told_by_its_path_and_how_many_more_there_are():
    error = fault({"cases": [{"prompt": 1}, {"messages": 2}, {"prompt": ""}]})
    assert error.message.startswith("x.json: cases[0].prompt: input should be a valid string")
    assert error.fix == "2 more fault(s) in this file"


def test_our_own_sentences_are_shown_without_the_librarys_prefix():
    error = fault({"cases": [{}, {"prompt": ""}]})
    assert error.message == "x.json: cases[1]: nothing is asked"
    assert error.fix is None


def test_a_document_of_the_wrong_kind_is_told_without_a_path():
    assert fault([], Book).message.startswith("x.json: ")


def test_what_is_right_is_returned():
    suite = validate(Suite, {"cases": [{"prompt": "x"}]}, "x.json")
    assert suite.cases[0].prompt == "x"


# Writing.


def test_the_same_data_gives_the_same_bytes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_json(one, {"b": [1.0, 0.1], "a": "ü\n"})
    write_json(two, {"a": "ü\n", "b": [1.0, 0.1]})
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() == '{\n  "a": "ü\\n",\n  "b": [\n    1.0,\n    0.1\n  ]\n}\n'.encode()


def test_what_is_written_can_be_read(path):
    data = {"text": "日本 \x00 \u2028", "none": None, "deep": [[{"a": []}]]}
    write_json(path, data)
    assert read_json(path) == data


def test_numbers_that_are_none_cannot_be_written(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert not path.exists()


def test_half_characters_of_a_models_text_do_not_lose_the_file(path):
    write_json(path, {"text": "a\ud800b"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "a?b"}


def test_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "x\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"x\n"


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("step", ["chmod", "replace"])
@pytest.mark.parametrize("failure", [OSError("disk full"), Interrupted()], ids=["error", "interrupt"])
def test_a_failure_midway_leaves_the_old_file_and_nothing_else(path, monkeypatch, step, failure):
    write_json(path, {"old": True})

    def fail(*_):
        raise failure

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(type(failure)):
        write_json(path, {"new": True})
    monkeypatch.undo()
    assert read_json(path) == {"old": True}
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fills_up_midway_leaves_the_old_file(path, monkeypatch):
    write_json(path, {"old": True})
    write_half = jsonfile.os.fdopen

    def half(handle, *arguments, **keywords):
        stream = write_half(handle, *arguments, **keywords)
        whole = stream.write

        def write(text):
            whole(text[:5])
            stream.flush()
            assert json.loads(path.read_text(encoding="utf-8")) == {"old": True}  # readers see the old file
            raise OSError(28, "No space left on device")

        stream.write = write
        return stream

    monkeypatch.setattr(jsonfile.os, "fdopen", half)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": "x" * 1000})
    assert read_json(path) == {"old": True}
    assert list(path.parent.iterdir()) == [path]


def test_dumps_can_be_ascii():
    assert dumps({"b": "\x9b é"}, ascii_only=True) == '{\n  "b": "\\u009b \\u00e9"\n}'
    assert "é" in dumps({"b": "é"})
