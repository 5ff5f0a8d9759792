"""Degenerate output: noise is called noise, and an ordinary answer is left alone."""

# ruff: noqa: RUF001 - scripts are what some of these tests are about

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from audition.bench.guards import GUARDS, Evidence, Finding, run_guards
from audition.bench.guards.degenerate import echoes, has_special_tokens, is_empty, loops
from audition.bench.plan import Settings
from plans import a_case, a_sample, a_target

# What gemma-3-270m, a base model without a chat template, answered to the demo's prompts.
RAG = "Explain the principle of retrieval augmented generation in 2 sentences."
NOTES = (
    "Meeting notes: Priya leaves the project on 30 June. Sam takes over the database.\n\n"
    "When does Priya leave? Answer in one short sentence."
)
GEMMA_MARKERS = "<|im_end|>\n<|im_start|>\n" * 8 + "<|im_end|>\n<"
GEMMA_MORE_MARKERS = "<|im_end|>\n<|im_start|>\n" + "<|im_end|>\n" * 7 + "<|im_"
GEMMA_ECHO = f"{RAG}<|im_end|>\n<|im_start|>user\n" * 4 + f"{RAG}<|im_end"
GEMMA_HALF_ECHO = f"{NOTES}<|im_end|>\n<|im_start|>user\nMeeting notes: Priya leaves the project on 30 June. Sam"

GOOD = {
    "a word": "Paris",
    "a sentence": "Priya leaves the project on 30 June.",
    "a list": (
        "Three benefits of local inference:\n\n"
        "1. **Privacy**: the data never leaves the device.\n"
        "2. **Latency**: there is no way to the server and back.\n"
        "3. **Cost**: there is no bill for every request.\n"
    ),
    "a list of fruit": "\n".join(f"- {fruit}" for fruit in ("apple", "pear", "plum", "cherry", "grape", "fig")),
    "a poem with a refrain": (
        "The garden sleeps beneath the snow,\nThe fox goes by without a sound,\nAnd no one hears the river flow,\n"
        "For winter holds the ground.\n\n"
        "The children wait behind the door,\nThe kettle sings, the bread is round,\n"
        "The clock has struck the hour of four,\nFor winter holds the ground.\n"
    ),
    "a poem that comes back to its refrain": "\n".join(
        f"{line}\nFor winter holds the ground.\n"
        for line in (
            "The garden sleeps beneath the snow, and no one hears the river flow,",
            "The children wait behind the door, the clock has struck the hour of four,",
            "The fox goes by without a sound, the kettle sings, the bread is round,",
        )
    ),
    "code": (
        "```python\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + "".join(f"        self.layer{n} = nn.Linear(128, 128)\n" for n in range(1, 7))
        + "\n    def forward(self, x):\n        for layer in self.layers:\n            x = layer(x)\n"
        + "        return x\n```"
    ),
    "statements that differ in their numbers": (
        "```sql\n" + "".join(f"INSERT INTO products (id, price) VALUES ({n}, {n * 10});\n" for n in range(1, 7)) + "```"
    ),
    "figures": " ".join(f"In {year} the revenue was {year % 7}.5 million euros." for year in range(2019, 2025)),
    "measurements": "\n".join(f"The server {n} answered after {n * 31 % 17} ms." for n in range(1, 6)),
    "a table": (
        "| Model | Size | Speed | Licence |\n|---|---|---|---|\n"
        "| small | 98 MB | fast | MIT |\n| middle | 253 MB | slower | MIT |\n| large | 4 GB | slow | MIT |\n"
    ),
    "a table of numbers": "| n | square | cube |\n|---|---|---|\n"
    + "".join(f"| {n} | {n**2} | {n**3} |\n" for n in range(1, 30)),
    "a multiplication table": "\n".join(f"7 x {n} = {7 * n}" for n in range(1, 21)),
    "a sequence": ", ".join(str(n) for n in range(1, 101)),
    "json": '{"items": [' + ", ".join(f'{{"id": {n}, "name": "item {n}"}}' for n in range(12)) + "]}",
    "a ruler": "Heading\n=======\n\nThe text of it, which is long enough to be more than its ruler.\n\n---",
    "a long summary": (
        "The meeting opened with the launch, which moves from the third to the seventeenth of March because the "
        "printer is late. Ben will tell the shops by Friday, and Anna asks the printer for a firm date. "
        "After that the team spoke about the budget. It was agreed that the trade fair may cost 4,500 euros, half "
        "again as much as last year, since the stand is larger. Tom thinks that this is enough. "
        "The last point was the help page. Support tickets fell by a quarter, and Lena writes a new page so that they "
        "fall further. The next meeting is on Thursday at ten, in the small room."
    ),
}

LOOPS = {
    "markers": GEMMA_MARKERS,
    "more markers": GEMMA_MORE_MARKERS,
    "the prompt again and again": GEMMA_ECHO,
    "a word": "yes " * 30,
    "a letter": "a" * 60,
    "a line": "I am a language model.\n" * 5,
    "a paragraph": "The model is small. It runs on a laptop. It keeps the data private.\n\n" * 3,
    "an answer that ends in a loop": "The budget is 4,500 euros for the fair. " + "and so on, " * 20,
    "a list that counts": "\n".join(f"{n}. Local inference keeps the data of the user private." for n in range(1, 8)),
    "steps that count": "\n".join(f"Step {n}: Open the file and read the first line." for n in range(1, 8)),
    "bold items": "\n".join(f"**{n}.** *The data never leaves the device.*" for n in range(1, 8)),
    "a loop that the limit cut": "First, open the valve slowly. Then wait a minute. " * 4 + "First, open the va",
    "a loop after a long answer": GOOD["a long summary"] + " The next meeting is on Thursday at ten." * 30,
}


@pytest.mark.parametrize("name", GOOD)
def test_an_ordinary_answer_is_no_fault(name: str) -> None:
    text = GOOD[name]
    faults = (is_empty(text), has_special_tokens(text), loops(text), echoes(text, RAG), echoes(text, NOTES))
    assert faults == (False,) * 5


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_found(name: str) -> None:
    assert loops(LOOPS[name])


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000\n"])
def test_nothing_but_blanks_is_empty(text: str) -> None:
    assert is_empty(text)
    assert not loops(text)


@pytest.mark.parametrize(
    "text",
    [
        *(GEMMA_MARKERS, GEMMA_MORE_MARKERS, GEMMA_ECHO, GEMMA_HALF_ECHO),
        *(
            "Paris.<|eot_id|>",
            "Paris<end_of_turn>",
            "[INST] What? [/INST] Paris",
            "Paris</s>",
            "<<SYS>> be brief <</SYS>>",
        ),
        *(
            "Paris<|im_e",
            "<bos>Paris",
            "Paris <unk><unk>",
            "Paris<\uff5cend\u2581of\u2581sentence\uff5c>",
            "<|start header id|>user",
        ),
    ],
)
def test_template_markers_are_found(text: str) -> None:
    assert has_special_tokens(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a < b and b > c", "x <| y", "f(x) |> g", "<p>Paris</p>", "<s>old</s> new", "a || b", "<start> of it"),
        *("a[INSTANCE]", "List<String>", "1 << 2 >> 1", "<|>", "a <| b |> c", "f <| go on |> g", "a <|go on |> b"),
        *("It costs <s>20</s>", "<p>Was <s>20</s> and <s>30</s>\n"),
    ],
)
def test_what_looks_like_a_marker_is_none(text: str) -> None:
    assert not has_special_tokens(text)


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        (RAG, RAG),
        (f"  {RAG.upper()}\n", RAG),
        (f'"{RAG}"', RAG),
        (f"{RAG}\n\n{RAG}\n\n{RAG}", RAG),
        (GEMMA_ECHO, RAG),
        (GEMMA_HALF_ECHO, NOTES),
        (NOTES.replace("\n\n", " "), NOTES),
        (NOTES[:125], NOTES),
        (f"{RAG} Answer: {RAG}", RAG),
    ],
)
def test_a_prompt_that_comes_back_is_an_echo(answer: str, prompt: str) -> None:
    assert echoes(answer, prompt)


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        ("What is the capital of France? Paris.", "What is the capital of France?"),
        (f"You asked: {RAG} It looks up documents first. Then it writes with them.", RAG),
        ("Paris", "Paris"),
        ("yes, yes", "Say yes, yes"),
        ("Explain the principle: it looks things up.", RAG),
        ("Meeting notes: Priya leaves on 30 June.", NOTES),
        ("", RAG),
        ("Paris", ""),
    ],
)
def test_an_answer_that_only_quotes_the_prompt_is_no_echo(answer: str, prompt: str) -> None:
    assert not echoes(answer, prompt)


HUGE = {
    "one letter": "a" * 100_000,
    "letters": "ab" * 50_000,
    "nearly a period": ("a" * 99 + "b") * 1000 + "c",
    "fibonacci": "",
    "blanks": " " * 100_000 + "x",
    "line breaks": "x" + "\n" * 100_000 + "y",
    "stops": "." * 100_000,
    "marker beginnings": "<|" * 50_000,
    "open markers": "<|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 2500,
    "ends": "</s> " * 20_000 + "x",
    "stars": "**1.** " * 15_000,
    "prompts": f"{RAG} " * 1400,
    "sentences": "".join(f"The sentence number {n} is not like the others. " for n in range(2000)),
}
a, b = "a", "ab"
while len(b) < 100_000:
    a, b = b, b + a
HUGE["fibonacci"] = b


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("fault", [loops, has_special_tokens, is_empty, lambda text: echoes(text, RAG)])
def test_a_huge_answer_is_judged_at_once(name: str, fault: Callable[[str], bool]) -> None:
    start = time.perf_counter()
    fault(HUGE[name])
    assert time.perf_counter() - start < 1.0


def test_the_end_of_a_long_answer_counts() -> None:
    assert loops(HUGE["sentences"] + " and so on" * 1000)
    assert not loops(HUGE["sentences"])


def findings(*texts: str, prompt: str = RAG, **changes: Any) -> dict[str, Finding]:
    samples = [a_sample(case="c", text=text, **changes) for text in texts]
    evidence = Evidence(a_target(has_chat_template=True), samples, [], [], {"c": a_case("c", prompt)}, Settings())
    return {finding.code: finding for finding in run_guards(evidence)}


def test_good_answers_have_no_findings() -> None:
    assert findings(*GOOD.values()) == {}


@pytest.mark.parametrize(
    ("text", "reasoning", "code"),
    [
        ("<think>Paris is in France.</think>\n", "", "empty_output"),
        ("Paris is in France.</think>", "", "empty_output"),
        ("<think>Paris is in France, so", "", "unclosed_reasoning"),
        ("[THINK]Paris is in France, so", "", "unclosed_reasoning"),
        ("<|START_THINKING|>Paris is in France, so", "", "unclosed_reasoning"),
        (" \n", "Paris is in France, so", "unclosed_reasoning"),
    ],
)
def test_thinking_without_an_answer_is_one_fault(text: str, reasoning: str, code: str) -> None:
    assert set(findings(*[GOOD["a sentence"]] * 3)) == set()
    assert set(findings(text, reasoning=reasoning)) == {"unusable_answers", code}


@pytest.mark.parametrize(
    "text",
    [
        "<think>Paris is in France.</think> Paris",
        "<|START_THINKING|>Paris is in France.<|END_THINKING|>Paris",
        f"<think>I am asked: {RAG} {RAG}</think> It looks things up, and then it writes.",
    ],
)
def test_an_answer_after_thinking_is_no_fault(text: str) -> None:
    assert findings(text) == {}


def test_an_echo_is_one_with_its_mark_as_well() -> None:
    assert "prompt_echo" in findings(f"[0a1b2c3d]\n{RAG}", asked={"mark": "0a1b2c3d"})
    assert "prompt_echo" not in findings(f"[0a1b2c3d]\n{RAG}")


CHINESE = "检索增强生成先在文档中查找相关内容，然后根据这些内容写出答案。这样答案更可靠。"
RUSSIAN = "Сначала система ищет подходящие документы, а затем пишет ответ."


@pytest.mark.parametrize("text", [CHINESE, RUSSIAN, f"RAG: {CHINESE}", f"<think>{RAG}</think>{RUSSIAN}"])
def test_an_answer_in_another_script_is_found(text: str) -> None:
    found = findings(*[GOOD["a sentence"]] * 3, text)
    assert set(found) == {"wrong_script"}
    assert (found["wrong_script"].affected, found["wrong_script"].taints) == (1, ("quality",))


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (CHINESE, "Translate this sentence, and say nothing else: the answer is reliable."),
        (CHINESE, "Explain retrieval augmented generation in Chinese."),
        (RUSSIAN, "Erkläre mir das bitte auf Russisch."),
        (RUSSIAN, "Explique-moi cela en russe, s'il te plaît."),
        (CHINESE, "什么是检索增强生成？"),
        (CHINESE, "Explain 检索增强生成 (RAG)."),
        ("検索は先に文書を探し、それから答えを書く仕組みのことです。", "検索拡張生成とは何ですか。"),
        (GOOD["a long summary"], "Что решили на встрече? Напиши по-английски."),
        ("def answer(question):\n    return lookup(question)", "Напиши функцию, которая отвечает на вопрос."),
        (f"The word 你好 means hello. {GOOD['a sentence']}", RAG),
        ("你好", "Say hello."),
        ("α + β = γ, so 𝑎𝑏𝑐𝑑𝑒𝑓𝑔ℎ𝑖𝑗𝑘𝑙𝑚𝑛𝑜𝑝𝑞𝑟𝑠𝑡 is true.", RAG),
        ("Ｆｕｌｌ ｗｉｄｔｈ ｌｅｔｔｅｒｓ ａｒｅ ｓｔｉｌｌ ｌａｔｉｎ", RAG),
        (CHINESE, "17 + 4 = ?"),
    ],
)
def test_a_script_that_was_asked_for_is_no_fault(text: str, prompt: str) -> None:
    assert "wrong_script" not in findings(text, prompt=prompt)


def test_a_script_that_is_expected_is_no_fault() -> None:
    case = a_case("c", "What is on the sign in the picture of the station?", reference="Вход в метро")
    evidence = Evidence(a_target(), [a_sample(case="c", text=RUSSIAN)], [], [], {"c": case}, Settings())
    assert run_guards(evidence) == []


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (" \n", {"empty_output"}),
        (RAG, {"prompt_echo"}),
        (LOOPS["a list that counts"], {"repetition_loop"}),
        ("Paris<|im_end|>", {"special_tokens"}),
        (GEMMA_ECHO, {"prompt_echo", "repetition_loop", "special_tokens"}),
    ],
)
def test_each_fault_is_counted_and_marks_the_quality(text: str, codes: set[str]) -> None:
    found = findings(*[GOOD["a sentence"]] * 3, text)
    assert set(found) == codes
    for finding in found.values():
        assert (finding.affected, finding.of, finding.taints, finding.disqualifies) == (1, 4, ("quality",), False)
        assert finding.sentence.startswith("1 of 4 answers ")


def test_a_target_whose_answers_are_mostly_noise_cannot_be_picked() -> None:
    found = findings(GEMMA_MARKERS, RAG, "", "fine")["unusable_answers"]
    assert (found.affected, found.of, found.disqualifies) == (3, 4, True)
    assert {"quality", "latency", "decode_tps"} <= set(found.taints)
    assert "unusable_answers" in findings(GEMMA_MARKERS, "fine"), "a half is enough"
    assert "unusable_answers" not in findings(GEMMA_MARKERS, "fine", "fine")


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_request_that_failed_is_not_blamed_for_its_text(status: str) -> None:
    assert set(findings("", GEMMA_MARKERS, status=status)) == {"failing_requests"}


def test_an_answer_that_the_limit_cut_is_looked_at() -> None:
    assert "repetition_loop" in findings(GEMMA_MARKERS, status="truncated")


def test_a_reader_gets_the_gravest_first() -> None:
    assert next(iter(findings(GEMMA_ECHO))) == "unusable_answers"
    assert len({guard.code for guard in GUARDS}) == len(GUARDS)
