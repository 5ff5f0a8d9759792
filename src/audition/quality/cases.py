"""Prompt files: the cases of a suite and what is expected of the answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from audition.bench.plan import Case
from audition.errors import UsageError
from audition.jsonfile import read_json, validate
from audition.quality.checks import build_check
from audition.quality.checks.base import kind
from audition.text import one_line, printable

Anchor = Literal["1", "2", "3", "4", "5"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _worded(text: str | None) -> str | None:
    """Refuse text that says nothing, and text that no file or engine can hold."""
    if text is None:
        return None
    if not text.strip():
        raise ValueError("is blank")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half of a character (a lone surrogate, at position {error.start})") from error
    return text


class MessageFile(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks.")
    content: str = Field(description="What is said.")

    _content = field_validator("content")(_worded)


class DefaultsFile(_Strict):
    """What holds for every case that does not say otherwise."""

    system: str | None = Field(None, description="System message put before every case's prompt or messages.")
    max_tokens: int | None = Field(None, ge=1, description="The most tokens an answer may have.")

    _system = field_validator("system")(_worded)


class CaseFile(_Strict):
    """One prompt with what is expected of the answer. A bare text is a case with only a prompt."""

    id: str | None = Field(None, description="Unique name of the case; made from the prompt's first words if left out.")
    prompt: str | None = Field(None, description="What the user says. Give this or messages.")
    messages: list[MessageFile] | None = Field(None, description="A whole conversation. Give this or prompt.")
    system: str | None = Field(
        None, description="System message of this case, instead of the default one; an empty text means none."
    )
    expect: Any = Field(
        None,
        description="What the answer must be like: a text (whole word, any case), a number (the last one in "
        "the answer), an object that names a check, or a list of these, which must all hold.",
    )
    reference: str | None = Field(None, description="A good answer. The checks are tested on it.")
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="Share of this case in the suite's score.")
    tags: list[str] = Field(default=[], description="Words to group results by.")
    cluster: str | None = Field(
        None,
        description="Cases with the same value share material (a document, say) and are not independent.",
    )
    max_tokens: int | None = Field(None, ge=1, description="The most tokens this answer may have.")

    _texts = field_validator("id", "prompt", "reference", "cluster")(_worded)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"prompt": data}
        if not isinstance(data, dict):
            raise ValueError(f"a case is an object or the text of a prompt, not {kind(data)}")
        return data

    @field_validator("id")
    @classmethod
    def _one_line_id(cls, value: str | None) -> str | None:
        if value is not None and (
            value != value.strip() or printable(value) != value or len(value) > 200 or "\n" in value
        ):
            raise ValueError("must be one printable line of at most 200 characters, without blanks around it")
        return value

    @field_validator("tags")
    @classmethod
    def _worded_tags(cls, values: list[str]) -> list[str]:
        for value in values:
            _worded(value)
        return values

    @model_validator(mode="after")
    def _one_conversation(self) -> CaseFile:
        if self.prompt is None and self.messages is None:
            raise ValueError("needs a prompt or messages")
        if self.prompt is not None and self.messages is not None:
            raise ValueError("has both a prompt and messages; give one of them")
        if self.messages is not None:
            roles = [message.role for message in self.messages]
            if "user" not in roles:
                raise ValueError("its messages hold none of the role user")
            if self.system and "system" in roles:
                raise ValueError("has a system message twice: under system and among its messages")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core)]}


class SuiteFile(_Strict):
    """A prompts file: what to ask, and what to expect. A bare list of cases is the same as only `cases`."""

    schema_: str | None = Field(None, alias="$schema", description="Where editors find the format.")
    version: Literal[1] = Field(1, description="Version of the format.")
    name: str | None = Field(None, description="Name of the suite; the file's name if left out.")
    defaults: DefaultsFile = Field(DefaultsFile(), description="What holds for every case.")
    rubrics: dict[str, dict[Anchor, str]] = Field(
        default={},
        description="Scales for graded judgement: for each name, what some of the grades 1 to 5 mean.",
    )
    cases: list[CaseFile] = Field(description="The cases, in any order.")

    _name = field_validator("name")(_worded)

    @field_validator("cases")
    @classmethod
    def _some_cases(cls, cases: list[CaseFile]) -> list[CaseFile]:
        if not cases:
            raise ValueError("is empty: there is nothing to ask")
        return cases

    @field_validator("rubrics")
    @classmethod
    def _worded_rubrics(cls, rubrics: dict[str, dict[Anchor, str]]) -> dict[str, dict[Anchor, str]]:
        for name, anchors in rubrics.items():
            if not name.strip() or not anchors:
                raise ValueError(f'the rubric "{one_line(name, 60)}" needs a name and at least one grade')
            for text in anchors.values():
                _worded(text)
        return rubrics


@dataclass(frozen=True, slots=True)
class Suite:
    """A named set of cases.

    Attributes:
        max_tokens: The file's default limit for answers; None where it sets none.
        rubrics: What the grades of each rubric mean, by name and grade.
    """

    name: str
    cases: tuple[Case, ...]
    max_tokens: int | None
    rubrics: dict[str, dict[str, str]]


def load_suite(path: Path) -> Suite:
    """Read a prompts file.

    Raises:
        UsageError: The file cannot be read, or is not a valid suite; names the file and the place in it.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(f"{path}: prompts are read from JSON files only", fix="save them as a .json file")
    return parse_suite(read_json(path), str(path))


def parse_suite(data: Any, name: str) -> Suite:
    """Read a suite from the content of a prompts file.

    Args:
        data: The JSON document: an object with `cases`, or a list of cases.
        name: The file's name, for error sentences, and for a suite that does not name itself.

    Raises:
        UsageError: Names the file and the place in it; for unknown keys, checks and rubrics also the nearest
            known one.
    """
    if not isinstance(data, dict | list):
        raise UsageError(
            f'{name}: prompts are an object with "cases", or a list of cases, not {kind(data)}',
            code="invalid_file",
        )
    file = validate(SuiteFile, {"cases": data} if isinstance(data, list) else data, name)
    rubrics: dict[str, dict[str, str]] = {
        rubric: {str(grade): text for grade, text in anchors.items()} for rubric, anchors in file.rubrics.items()
    }
    ids = _ids(file.cases, name)
    cases = []
    for index, (case_id, case) in enumerate(zip(ids, file.cases, strict=True)):
        expect = case.expect if isinstance(case.expect, list) else [] if case.expect is None else [case.expect]
        for position, spec in enumerate(expect):
            step = f"[{position}]" if isinstance(case.expect, list) else ""
            build_check(spec, f"{name}: cases[{index}].expect{step}", rubrics)
        cases.append(
            Case(
                id=case_id,
                messages=tuple(_messages(case, file.defaults.system)),
                max_tokens=case.max_tokens,
                expect=tuple(expect),
                reference=case.reference,
                weight=case.weight,
                tags=tuple(case.tags),
                cluster=case.cluster,
            )
        )
    return Suite(file.name or PurePath(name).stem, tuple(cases), file.defaults.max_tokens, rubrics)


def _messages(case: CaseFile, default_system: str | None) -> Iterable[dict[str, str]]:
    messages = case.messages or [MessageFile(role="user", content=case.prompt or "")]
    system = default_system if case.system is None else case.system
    if system and not any(message.role == "system" for message in messages):
        yield {"role": "system", "content": system}
    for message in messages:
        yield {"role": message.role, "content": message.content}


def _ids(cases: list[CaseFile], name: str) -> list[str]:
    """Return every case's id: as given, or made from its prompt without taking one that is given."""
    places: dict[str, int] = {}
    for index, case in enumerate(cases):
        if case.id is None:
            continue
        if case.id in places:
            raise UsageError(
                f'{name}: cases[{places[case.id]}] and cases[{index}] have the same id "{case.id}"',
                fix="give each case its own",
                code="invalid_file",
            )
        places[case.id] = index
    ids = []
    for index, case in enumerate(cases):
        case_id = case.id
        if case_id is None:
            case_id = base = _slug(case)
            number = 2
            while case_id in places:
                case_id = f"{base}-{number}"
                number += 1
            places[case_id] = index
        ids.append(case_id)
    return ids


def _slug(case: CaseFile) -> str:
    """Return the first words of the last thing the user says, as in `what-is-the-capital-of-france`."""
    users = [message.content for message in case.messages or [] if message.role == "user"]
    text = case.prompt if case.prompt is not None else users[-1]
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text[:500]).casefold())
    return "-".join(words[:6])[:48].strip("-") or "case"
