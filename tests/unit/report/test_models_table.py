"""Models as a person sees them: unknown is shown as unknown, an estimate as an estimate, others' text as text."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from audition.api.discover import list_models
from audition.api.facts import model_facts
from audition.api.this_machine import ThisMachine
from audition.models.fit import Memory
from audition.report.model_facts import render_facts
from audition.report.models import legend, memory_text, models_table, search_table, size_text, state_text

MEMORY = Memory(16_000_000_000, 12_000_000_000, None, None)
HOSTILE = "evil\x1b[31m\u202egnp.exe\n\x07[red]"


@pytest.fixture
def machine():
    it = ThisMachine()
    it.memory = MEMORY
    return it


@pytest.fixture
def rows(home, machine):
    return [row.to_json() for row in list_models(machine)]


def shown(renderable, width):
    console = Console(width=width, file=io.StringIO(), color_system=None, markup=False, highlight=False)
    console.print(renderable)
    return console.file.getvalue()


def hostile(row):
    """Return a row in which every text is hostile."""
    return {key: HOSTILE * 20 if isinstance(value, str) and key not in ("fit", "state") else value
            for key, value in row.items()}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_list_fits_the_terminal(rows, width):
    text = shown(models_table(rows), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "smollm2-135m:q4_1" in text
    assert "Fits" in text
    assert "98 MB" in text


def test_at_80_columns_a_name_a_size_the_fit_and_the_terms_are_there(rows):
    header = shown(models_table(rows), 80).splitlines()[0]
    assert header.split() == ["Model", "Here", "Fits", "Memory", "Size", "Licence", "class"]


def test_where_nothing_is_known_nothing_is_made_up(rows):
    unknown = {**rows[0], "size": None, "size_estimated": False, "memory": None, "fit": "unknown", "licence": None,
               "quantization": None, "engines": (), "engines_missing": ()}  # fmt: skip
    line = shown(models_table([unknown]), 300).splitlines()[2]
    assert re.search(r"\bno\s+\?\s+\u2013\s+\u2013", line), line
    assert not re.search(r"\b0\b", line)


def test_an_estimate_is_marked(rows):
    row = rows[0]
    assert size_text({**row, "size": 2_000_000_000, "size_estimated": True}) == "~2.00 GB"
    assert size_text({**row, "size": 2_000_000_000, "size_estimated": False}) == "2.00 GB"
    known = {"total": 300_000_000, "is_lower_bound": False}
    assert memory_text({**row, "memory": known}) == "~300 MB"
    assert memory_text({**row, "memory": {**known, "is_lower_bound": True}}) == ">300 MB"


def test_the_gpu_is_told_apart_where_there_is_one(rows):
    assert "Fits GPU" not in shown(models_table(rows), 300)
    line = shown(models_table([{**rows[0], "fit": "yes", "fit_gpu": "no"}]), 300).splitlines()[2]
    assert re.search(r"\byes\b.*\bno\b", line)


def test_how_much_of_a_download_has_arrived_is_told(rows):
    assert state_text({**rows[0], "state": "partial", "arrived": 0.426}) == "43 %"
    assert state_text({**rows[0], "state": "linked", "arrived": None}) == "linked"


@pytest.mark.parametrize("width", [80, 160, 10_000])
def test_hostile_text_stays_text(rows, width):
    found = {"downloads": 12_345, "likes": 3, "last_modified": HOSTILE, "gated": True, "variants": 2}
    evil = {**hostile(rows[0]), "capabilities": (HOSTILE,), "engines": (HOSTILE,)}
    for table in (models_table([evil]), search_table([{**evil, **found}])):
        text = shown(table, width)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert len(text) < 20_000, "it is cut"


def test_one_long_text_does_not_push_the_others_out(rows):
    text = shown(models_table([{**rows[0], "licence": "L" * 200}]), 10_000)
    assert "L" * 41 not in text


def test_hostile_facts_stay_text(home, machine):
    facts = model_facts("smollm2-135m", machine).to_json()
    evil = {**hostile(facts), "from": dict.fromkeys(facts["from"], HOSTILE * 20), "notes": [HOSTILE * 20]}
    evil["capabilities"], evil["files"] = [HOSTILE] * 500, [HOSTILE] * 500
    evil["hub"] = dict.fromkeys(("page", "commit", "last_modified"), HOSTILE * 20)
    evil["hub"] |= {"downloads": 3, "likes": None, "gated": True, "private": False, "base_models": [HOSTILE] * 50}
    evil["smaller"] = [HOSTILE] * 3
    text = shown(render_facts(evil, MEMORY), 120)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert len(text) < 40_000


@pytest.mark.parametrize("width", [60, 80, 160])
def test_facts_are_three_columns_that_fit_the_terminal(home, machine, width):
    text = shown(render_facts(model_facts("smollm2-135m", machine).to_json(), MEMORY), width)
    assert text.splitlines()[0].split() == ["Fact", "Value", "From"]
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert re.search(r"Licence class +permissive +catalog", text)
    assert re.search(r"Architecture +llama +catalog", text)
    assert re.search(r"Chat template +unknown +its file has not", text)


def test_a_peak_is_shown_with_the_error_of_the_estimate(home, machine):
    facts = model_facts("smollm2-135m", machine).to_json()
    check = {"run": "r1", "target": "t", "engine": "llamacpp", "device": "cpu", "context": 4096, "parallel": 2,
             "bytes": 281_000_000, "estimate": 293_000_000, "error": 0.0427}  # fmt: skip
    facts["measured"] = [check, {**check, "error": -0.2}, {**check, "error": None, "estimate": None}]
    text = shown(render_facts(facts, MEMORY), 160)
    assert "281 MB in llamacpp at 4,096 tokens, 2 at once; the estimate is 4 % above" in text
    assert "the estimate is 20 % below" in text
    assert re.search(r"2 at once +run r1", text), "no error without an estimate"


def test_the_legend_says_what_the_figures_are_of(rows):
    assert legend(rows, MEMORY).startswith("Memory is estimated for 4,096 tokens; 12.00 GB of 16.00 GB are free here.")
    assert "8.00 GB on the GPU" in legend(rows, Memory(16 * 10**9, 12 * 10**9, 8 * 10**9, 7 * 10**9))
    assert "at most 4,096 tokens" in legend([*rows, {**rows[0], "memory_context": 512}], MEMORY)


def test_a_bound_is_explained_where_there_is_one(rows):
    assert "KV cache" not in legend(rows, MEMORY)
    bound = {**rows[0], "memory": {**rows[0]["memory"], "is_lower_bound": True}}
    assert "> is without the KV cache: neither a header nor the catalog tells its size." in legend([bound], MEMORY)
