"""Chat templates that no engine could read, found without running them."""

from __future__ import annotations

import time

import pytest

from audition.models.template import template_fault

WHOLE = [
    "",
    "plain text } }} %} #}",
    "{% if x %}{% elif y %}{% else %}{% endif %}",
    "{%- for m in messages -%}{{- m['content'] | trim -}}{%- endfor -%}",
    "{{ {'a': {'b': 1}}}}",
    "{{ '}}' ~ \"%}\" ~ 'it\\'s' }}{{ 5 % 3 }}",
    "{%- set ns = namespace(a='%}', b=[1, 2]) -%}",
    "{% raw %}{{ {% if {% endraw %}",
    "{# {{ {% if x %} #}",
    "{% generation %}x{% endgeneration %}",
    "{% macro m(a) %}{{ a }}{% endmacro %}",
]
FAULTS = {
    "{{ x": "the {{ in line 1 has no }}",
    "a\n{% if x": "the {% in line 2 has no %}",
    "{# x": "the {# in line 1 has no #}",
    "{% raw %}{{": 'the "raw" in line 1 has no "endraw"',
    "{{ 'x }}": "the {{ in line 1 has no }}",
    "{{ (x }}": "the {{ in line 1 has no }}",
    "{% for m in messages %}\n{{ m }}": 'the "for" in line 1 has no "endfor"',
    "{% for a in b %}{% if c %}{% endfor %}{% endif %}": 'the "endfor" in line 1 ends nothing that is open there',
    "\n{%- endif %}": 'the "endif" in line 2 ends nothing that is open there',
}


@pytest.mark.parametrize("text", WHOLE)
def test_a_whole_template_has_no_fault(text: str) -> None:
    assert template_fault(text) is None


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_a_fault_is_said_with_its_line(text: str, fault: str) -> None:
    assert template_fault(text) == fault


@pytest.mark.parametrize("text", [*WHOLE, *FAULTS])
def test_jinja_agrees(text: str) -> None:
    jinja2 = pytest.importorskip("jinja2")
    if "generation" in text:
        pytest.skip("an extension of Hugging Face's")
    try:
        jinja2.Environment().parse(text)
    except jinja2.TemplateSyntaxError:
        assert template_fault(text)
    else:
        assert template_fault(text) is None


@pytest.mark.parametrize("piece", ["{{x}}\n", "{% if x %}", "{{ '", "{{(", "{#", "{% raw %}", "{%     "])
def test_a_hostile_template_costs_no_more_than_its_length(piece: str) -> None:
    start = time.perf_counter()
    template_fault(piece * (2**20 // len(piece)))
    assert time.perf_counter() - start < 5
