"""Degenerate output: text that is no answer. A model that produces it can still look fast."""

from __future__ import annotations

import re
from collections import Counter

from audition.bench.guards.base import TOKEN_TIMES, Evidence, Finding, Guard, answered
from audition.bench.guards.script import is_foreign
from audition.bench.plan import Case
from audition.bench.sample import Sample
from audition.reasoning import split_reasoning

# Markers of chat templates that a model must not show its reader, whole or cut off at the end. None begins or ends
# with a blank: `a <| b |> c` is an operator of some languages.
_SPECIAL = re.compile(
    r"<\|[A-Za-z0-9_][A-Za-z0-9_ ]{0,38}[A-Za-z0-9_]\|>|<\|[a-z_]{2,40}$|<(?:start|end)_of_turn>|\[/?INST\]"
    r"|<</?SYS>>|<(?:bos|eos|pad|unk)>|<\uff5c[^\uff5c\n]{2,40}\uff5c>"
)
_END = re.compile(r"</s>\s*$")
# What a loop counts up: "3. ", "- ", "Step 3: ".
_LIST_MARKER = re.compile(r"[\W_]*(?:(?:[^\W\d_]+ )?\d+[.:)])?[\W_]*")
_LOOK_AT = 4000
"""Characters from the end that are searched for a loop."""


def is_empty(answer: str) -> bool:
    """Return whether there is nothing but white space."""
    return not answer.strip()


def has_special_tokens(answer: str) -> bool:
    """Return whether chat template markers stand in the text.

    `</s>` at the end is one unless it closes HTML's `<s>`.
    """
    if _END.search(answer[-100:]) is not None and answer.count("</s>") > answer.count("<s>"):
        return True
    return _SPECIAL.search(answer) is not None


def echoes(answer: str, prompt: str) -> bool:
    """Return whether the answer repeats the prompt and says nothing else.

    Either the prompt stands in it again and again, or alone, or its first 120 characters are how the answer starts.
    An answer that quotes the prompt before it answers is none.
    """
    answer, prompt = _flat(answer), _flat(prompt)
    words = prompt.split()
    if len(words) < 5:
        return False
    if prompt not in answer:
        return len(prompt) > 120 and answer.startswith(prompt[:120])
    before, _, after = answer.partition(prompt)
    rest = _END.sub(" ", _SPECIAL.sub(" ", f"{before} {after}"))
    return " ".join(words[:5]) in rest or not re.search(r"\w", rest)


def loops(answer: str) -> bool:
    """Return whether the text goes round in circles.

    Either its tail has a period (three times or more, 48 characters or more, a third of the text or more), or the
    same sentences, apart from a list's numbers, come three times and make up half of it.
    """
    text = answer.strip()[-_LOOK_AT:]
    span = _periodic_tail(text)
    if span >= 48 and span >= len(text) / 3:
        return True
    sentences = [_flat(_LIST_MARKER.sub("", part, count=1)) for part in re.split(r"(?<=[.!?])\s+|\n+", text)]
    counts = Counter(sentence for sentence in sentences if len(sentence) >= 20)
    repeated = sum(len(sentence) * times for sentence, times in counts.items() if times >= 3)
    return repeated > 0 and repeated >= 0.5 * sum(len(sentence) for sentence in sentences)


def _periodic_tail(text: str) -> int:
    """Return the length of the longest suffix that consists of three or more repeats of one unit.

    The prefix function (Knuth, Morris and Pratt 1977) of the reversed text gives the smallest period of every suffix
    in linear time.
    """
    backwards = text[::-1]
    border = [0] * len(backwards)
    longest = 0
    for i in range(1, len(backwards)):
        k = border[i - 1]
        while k and backwards[i] != backwards[k]:
            k = border[k - 1]
        if backwards[i] == backwards[k]:
            k += 1
        border[i] = k
        length = i + 1
        if length >= 3 * (length - k):
            longest = length
    return longest


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


class _Degenerate(Guard):
    """A share of the answers shows one fault."""

    taints = ("quality",)
    fault: str

    def is_hit(self, sample: Sample, case: Case) -> bool:
        raise NotImplementedError  # abstract

    def check(self, evidence: Evidence) -> Finding | None:
        samples = answered(evidence.samples)
        hits = sum(self.is_hit(sample, evidence.cases[sample.case]) for sample in samples)
        if not hits:
            return None
        return self.finding(f"{hits} of {len(samples)} answers {self.fault}", affected=hits, of=len(samples))


class UnclosedReasoning(_Degenerate):
    """The model thinks and never answers."""

    code = "unclosed_reasoning"
    fault = "stop while the model is still thinking"

    def is_hit(self, sample: Sample, case: Case) -> bool:
        """Reasoning that is opened in the text and not closed, or that came apart from it with nothing after it."""
        return split_reasoning(sample.text).unclosed or (bool(sample.reasoning) and is_empty(sample.text))


class EmptyOutput(_Degenerate):
    """The answer has no text."""

    code = "empty_output"
    fault = "are empty"

    def is_hit(self, sample: Sample, case: Case) -> bool:
        """Reasoning in the text that is closed with nothing after it is no answer either."""
        return not UnclosedReasoning().is_hit(sample, case) and is_empty(split_reasoning(sample.text).answer)


class PromptEcho(_Degenerate):
    """The answer repeats the prompt."""

    code = "prompt_echo"
    fault = "repeat the prompt instead of answering it"

    def is_hit(self, sample: Sample, case: Case) -> bool:
        """Compare with the last user message; thinking about it may repeat it, and its mark is not an answer."""
        answer, mark = split_reasoning(sample.text).answer, (sample.asked or {}).get("mark")
        return echoes(answer.replace(f"[{mark}]", " ") if mark else answer, case.prompt)


class RepetitionLoop(_Degenerate):
    """The answer goes round in circles."""

    code = "repetition_loop"
    fault = "repeat themselves in a loop"

    def is_hit(self, sample: Sample, case: Case) -> bool:
        """Look at the tail."""
        return loops(sample.text)


class SpecialTokens(_Degenerate):
    """Chat template markers stand in the answer."""

    code = "special_tokens"
    fault = "show chat template markers"

    def is_hit(self, sample: Sample, case: Case) -> bool:
        """Look for the markers of the common templates; some models mark their reasoning with such."""
        return has_special_tokens(split_reasoning(sample.text).answer)


class WrongScript(_Degenerate):
    """The answer is in a script that nobody asked for."""

    code = "wrong_script"
    fault = "are in another script than their prompt, which does not ask for it"

    def is_hit(self, sample: Sample, case: Case) -> bool:
        """Compare the letters of the answer with those of the messages; what is expected may ask for it as well."""
        asked = " ".join(message["content"] for message in case.messages)
        expected = f"{case.reference or ''} {case.expect!r}"
        return is_foreign(split_reasoning(sample.text).answer, asked, expected)


FAULTS: tuple[_Degenerate, ...] = (
    SpecialTokens(),
    RepetitionLoop(),
    PromptEcho(),
    EmptyOutput(),
    UnclosedReasoning(),
)
"""What makes an answer unusable."""


def is_unusable(sample: Sample, case: Case) -> bool:
    """Return whether an answer shows one of the faults above."""
    return any(guard.is_hit(sample, case) for guard in FAULTS)


class UnusableAnswers(Guard):
    """At least half of the answers show one of the faults above: this target cannot be picked."""

    code = "unusable_answers"
    taints = ("quality", "latency", *TOKEN_TIMES, "e2e_tps", "throughput")
    share = 0.5

    def check(self, evidence: Evidence) -> Finding | None:
        """Count the answers with any of the faults."""
        samples = answered(evidence.samples)
        cases = evidence.cases
        hits = {guard: [guard.is_hit(sample, cases[sample.case]) for sample in samples] for guard in FAULTS}
        bad = sum(map(any, zip(*hits.values(), strict=True)))
        if not samples or bad < self.share * len(samples):
            return None
        faults = ", ".join(f"{sum(found)} {guard.fault}" for guard, found in hits.items() if any(found))
        return self.finding(
            f"{bad} of {len(samples)} answers are unusable ({faults}): its speed is the speed of producing noise",
            affected=bad,
            of=len(samples),
            disqualifies=True,
        )
