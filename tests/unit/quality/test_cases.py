from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audition.errors import UsageError
from audition.quality.cases import SuiteFile, load_suite, parse_suite

WHOLE: dict[str, Any] = {
    "$schema": "./prompts.schema.json",
    "version": 1,
    "name": "support-bot",
    "defaults": {"system": "Be brief.", "max_tokens": 120},
    "rubrics": {"clarity": {"1": "hard to follow", "3": "clear with gaps", "5": "clear and complete"}},
    "cases": [
        {
            "id": "rag-2",
            "prompt": "Explain RAG in 2 sentences.",
            "expect": ["retriev*", {"sentences": {"max": 2}}, {"rubric": "clarity"}],
            "reference": "Retrieval augmented generation looks things up first.",
            "tags": ["explain"],
            "weight": 2,
            "cluster": "rag",
            "max_tokens": 60,
        },
        {"id": "refund", "messages": [{"role": "user", "content": "Refund?"}], "expect": {"not": "no"}},
    ],
}


def fault(data: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse_suite(data, "prompts.json")
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("prompts.json: ")
    return caught.value


def test_the_whole_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(WHOLE), encoding="utf-8")
    suite = load_suite(path)
    assert (suite.name, suite.max_tokens) == ("support-bot", 120)
    assert suite.rubrics == WHOLE["rubrics"]
    rag, refund = suite.cases
    assert rag.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Explain RAG in 2 sentences."},
    )
    assert rag.expect == ("retriev*", {"sentences": {"max": 2}}, {"rubric": "clarity"})
    assert (rag.weight, rag.tags, rag.cluster, rag.max_tokens) == (2.0, ("explain",), "rag", 60)
    assert rag.reference == "Retrieval augmented generation looks things up first."
    assert refund.expect == ({"not": "no"},)
    assert (refund.max_tokens, refund.weight, refund.reference, refund.tags) == (None, 1.0, None, ())


def test_a_bare_list_of_texts_and_cases_is_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "my prompts.json"
    path.write_text(json.dumps(["What is RAG?", {"id": "x", "prompt": "Y?"}]), encoding="utf-8")
    suite = load_suite(path)
    assert (suite.name, suite.max_tokens, suite.rubrics) == ("my prompts", None, {})
    assert [case.id for case in suite.cases] == ["what-is-rag", "x"]
    assert suite.cases[0].messages == ({"role": "user", "content": "What is RAG?"},)
    assert suite.cases[0].expect == ()


def test_ids_made_from_texts_are_unique_and_never_take_a_given_one() -> None:
    texts = ["Say hi!", "Say hi.", "???", "Quelle est la capitale de la France ?", "你好世界", "word" * 50]
    suite = parse_suite([*texts, {"id": "say-hi-2", "prompt": "z"}], "f")
    ids = [case.id for case in suite.cases]
    assert ids[:5] == ["say-hi", "say-hi-3", "case", "quelle-est-la-capitale-de-la", "你好世界"]
    assert ids[6] == "say-hi-2"
    assert len(set(ids)) == len(ids)
    assert all(len(one) <= 48 for one in ids)


def test_adding_a_case_at_the_end_changes_no_other_id() -> None:
    before = [case.id for case in parse_suite(["a b", "a b"], "f").cases]
    after = [case.id for case in parse_suite(["a b", "a b", "a b"], "f").cases]
    assert after[:2] == before


@pytest.mark.parametrize(
    ("case", "roles"),
    [
        ({"prompt": "a"}, ["default", "a"]),
        ({"prompt": "a", "system": "own"}, ["own", "a"]),
        ({"prompt": "a", "system": ""}, ["a"]),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]}, ["s", "a"]),
        ({"messages": [{"role": "user", "content": "a"}]}, ["default", "a"]),
    ],
)
def test_the_nearest_system_message_holds(case: dict[str, Any], roles: list[str]) -> None:
    suite = parse_suite({"defaults": {"system": "default"}, "cases": [case]}, "f")
    assert [message["content"] for message in suite.cases[0].messages] == roles


@pytest.mark.parametrize(
    ("expect", "entries"),
    [
        (None, ()),
        ([], ()),
        ("Paris", ("Paris",)),
        (42, (42,)),
        (["a", 5], ("a", 5)),
        ({"words": 5}, ({"words": 5},)),
        ([["a", "b"]], (["a", "b"],)),
    ],
)
def test_expect_is_one_entry_a_check(expect: Any, entries: tuple[Any, ...]) -> None:
    assert parse_suite([{"prompt": "a", "expect": expect}], "f").cases[0].expect == entries


USER = {"role": "user", "content": "a"}
FAULTS: list[tuple[Any, str, str]] = [
    ("text", "not text", ""),
    (5, "not a number", ""),
    (None, "not null", ""),
    ([], "cases: is empty", ""),
    ({"cases": []}, "cases: is empty", ""),
    ({}, "cases: ", ""),
    ({"case": ["a"]}, 'case: unknown key "case"', '"cases"'),
    ({"cases": ["a"], "rubric": {}}, 'rubric: unknown key "rubric"', '"rubrics"'),
    ({"cases": ["a"], "defaults": {"max_token": 5}}, 'unknown key "max_token"', '"max_tokens"'),
    ({"cases": ["a"], "defaults": {"max_tokens": 0}}, "defaults.max_tokens", ""),
    ({"cases": ["a"], "version": 2}, "version", ""),
    ({"cases": ["a"], "name": " "}, "name: is blank", ""),
    ({"cases": ["a"], "rubrics": {"r": {"6": "x"}}}, "rubrics.r.6", ""),
    ({"cases": ["a"], "rubrics": {"r": {}}}, '"r"', ""),
    (["a", ""], "cases[1].prompt: is blank", ""),
    (["a", " \n"], "cases[1].prompt: is blank", ""),
    (["a", 5], "cases[1]: a case is", ""),
    ([{"prompt": "\ud800"}], "cases[0].prompt: ", ""),
    ([{"promt": "a"}], 'unknown key "promt"', '"prompt"'),
    ([{"prompt": 5}], "cases[0].prompt", ""),
    ([{"id": "a"}], "cases[0]: needs a prompt or messages", ""),
    ([{"prompt": "a", "messages": [USER]}], "cases[0]: has both", ""),
    ([{"messages": []}], "cases[0]: its messages", ""),
    ([{"messages": [{"role": "system", "content": "a"}]}], "cases[0]: its messages", ""),
    ([{"messages": [{"role": "usr", "content": "a"}]}], "cases[0].messages[0].role: ", ""),
    ([{"messages": [{"role": "user", "content": " "}]}], "cases[0].messages[0].content: is blank", ""),
    ([{"messages": [{"role": "system", "content": "a"}, USER], "system": "b"}], "system message twice", ""),
    ([{"id": "a", "prompt": "x"}, "y", {"id": "a", "prompt": "z"}], "cases[0] and cases[2]", ""),
    ([{"id": "", "prompt": "x"}], "cases[0].id", ""),
    ([{"id": "a\nb", "prompt": "x"}], "cases[0].id", ""),
    ([{"id": "a\u202eb", "prompt": "x"}], "cases[0].id", ""),
    ([{"prompt": "a", "weight": 0}], "cases[0].weight", ""),
    ([{"prompt": "a", "weight": -1}], "cases[0].weight", ""),
    ([{"prompt": "a", "weight": float("inf")}], "cases[0].weight", ""),
    ([{"prompt": "a", "weight": True}], "cases[0].weight", ""),
    ([{"prompt": "a", "max_tokens": 0}], "cases[0].max_tokens", ""),
    ([{"prompt": "a", "max_tokens": "5"}], "cases[0].max_tokens", ""),
    ([{"prompt": "a", "tags": ["x", ""]}], "cases[0].tags", ""),
    ([{"prompt": "a", "reference": ""}], "cases[0].reference: is blank", ""),
    (["a", {"prompt": "b", "expect": ["x", {"contian": "y"}]}], "cases[1].expect[1]: unknown check", '"contains"'),
    (["a", {"prompt": "b", "expect": {"contian": "y"}}], "cases[1].expect: unknown check", '"contains"'),
    ([{"prompt": "a", "expect": ""}], "cases[0].expect: ", ""),
    ([{"prompt": "a", "expect": {"regex": "(a"}}], "cases[0].expect: regex: not a regular expression", "(a"),
    ([{"prompt": "a", "expect": {"words": {"min": 2, "max": 1}}}], "cases[0].expect: words: ", ""),
    ([{"prompt": "a", "expect": {"rubric": "tone"}}], "cases[0].expect: rubric: ", '"rubrics"'),
]


@pytest.mark.parametrize(("data", "sentence", "fix"), FAULTS)
def test_a_wrong_file_is_a_usage_error_that_names_its_place(data: Any, sentence: str, fix: str) -> None:
    error = fault(data)
    assert sentence in error.message
    assert fix in (error.fix or "")


def test_an_unknown_rubric_names_the_nearest() -> None:
    data = {"rubrics": {"clarity": {"1": "a"}}, "cases": [{"prompt": "a", "expect": [{"rubric": "clarty"}]}]}
    assert fault(data).fix == 'did you mean "clarity"?'


@pytest.mark.parametrize("name", ["prompts.yaml", "prompts.jsonl", "prompts", "prompts.csv"])
def test_other_formats_are_refused_with_the_word_json(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="JSON"):
        load_suite(tmp_path / name)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json"):
        load_suite(tmp_path / "gone.json")


def test_the_schema_describes_every_key_and_allows_bare_texts() -> None:
    schema = SuiteFile.model_json_schema()
    assert "$schema" in schema["properties"]
    objects = [schema, *(part for name, part in schema["$defs"].items() if name != "CaseFile")]
    text, case = schema["$defs"]["CaseFile"]["anyOf"]
    assert text == {"type": "string"}
    for part in (*objects, case):
        assert part["additionalProperties"] is False
        assert all("description" in field for field in part["properties"].values())
