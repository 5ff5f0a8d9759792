"""Is it what we asked for: the model, the device, a chat template?"""

from __future__ import annotations

import re
from collections import Counter

from audition.bench.guards.base import TIMES, Ask, Evidence, Finding, Guard
from audition.bench.plan import Target
from audition.text import one_line

# What a server adds to a model's name without meaning another model: a tag, how it is stored, where it runs, a date.
_SUFFIX = re.compile(
    r"(?:[-_.:@](?:latest|instruct|chat|it|generic|cpu|gpu|cuda|npu|gguf|onnx|awq|gptq|mlx|i?q\d(?:_[0-9a-z]+)*"
    r"|b?fp?\d+|int\d+|\d+bit|\d{4}(?:-?\d{2}){0,2}))*"
)


class MissingChatTemplate(Guard):
    """The model file has no chat template, so the engine has to make one up."""

    code = "missing_chat_template"
    taints = ("quality",)

    def check(self, evidence: Evidence) -> Finding | None:
        """Trust the file's header."""
        if evidence.target.has_chat_template is not False:
            return None
        base = ": it is a base model that was never taught to answer" if evidence.target.instruct is False else ""
        return self.finding(
            f"the model file has no chat template{base}; {evidence.target.engine} fell back to one of its own"
        )


class TemplateNotApplied(Guard):
    """A server counts so few prompt tokens that there cannot be a chat template among them."""

    code = questions = "template_not_applied"
    taints = ("quality",)

    def applies(self, target: Target) -> bool:
        """Of a model file it is known whether it has a template."""
        return target.is_server

    async def probe(self, ask: Ask, target: Target) -> None:
        """Ask one word, and nothing else."""
        if self.applies(target):
            await ask("word", "Hello", max_tokens=4)

    def check(self, evidence: Evidence) -> Finding | None:
        """Want more prompt tokens than the word and one that begins every text."""
        sample = evidence.step(self.code, "word")
        if sample is None or not sample.prompt_tokens or sample.cached_tokens or sample.prompt_tokens > 2:
            return None
        return self.finding(
            f"a prompt of one word has {sample.prompt_tokens} tokens: there is no room for a chat template in them"
        )


class WrongModel(Guard):
    """Answers name another model than the one that was asked."""

    code = "wrong_model"
    taints = (*TIMES, "quality")
    share = 0.5
    """Above this share, what was measured is not the target, and it must not be picked."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the names, without what servers add to them."""
        asked = evidence.target.settings.get("model")
        if not isinstance(asked, str) or not asked:
            return None
        names = [sample.wire.get("model") for sample in evidence.answers() if sample.wire is not None]
        named = [name for name in names if isinstance(name, str) and name]
        others = Counter(name for name in named if not same_model(asked, name))
        if not others:
            return None
        n = sum(others.values())
        name = min(others, key=lambda other: (-others[other], other))
        is_most = n > self.share * len(named)
        said = ": what was measured is not the target; if that one is meant, ask for it by its name" if is_most else ""
        return self.finding(
            f'{n} of {len(named)} answers come from "{one_line(name, 80)}", not from "{one_line(asked, 80)}"{said}',
            affected=n,
            of=len(named),
            disqualifies=is_most,
        )


def same_model(asked: str, named: str) -> bool:
    """Return whether two names may mean one model: case, folders, organisation, tag, storage and date aside.

    Examples:
        >>> same_model("qwen2.5-0.5b", "models/Qwen2.5-0.5B-Instruct-Q4_K_M.gguf")
        True
        >>> same_model("gpt-4", "gpt-4-mini")
        False
    """
    one, other = sorted((_bare(asked), _bare(named)), key=len)
    return other.startswith(one) and _SUFFIX.fullmatch(other[len(one) :]) is not None


def _bare(name: str) -> str:
    return re.split(r"[/\\]", name.strip().casefold())[-1].removesuffix(".gguf").removesuffix(":latest")


class DeviceFallback(Guard):
    """It runs on another device than the one asked for."""

    code = "device_fallback"
    taints = (*TIMES, "peak_memory", "energy_per_token", "energy_per_answer")

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare kinds of device: engines name the same one differently."""
        asked = device_kind(evidence.target.device)
        told = [load.device for load in evidence.loads]
        told += [sample.wire.get("device") for sample in evidence.answers() if sample.wire is not None]
        kinds = Counter(kind for name in told if (kind := device_kind(name)) is not None)
        others = sorted(kind for kind in kinds if kind != asked)
        if asked is None or not others:
            return None
        always = "" if asked not in kinds else " at times"
        return self.finding(f"asked for {asked}, runs{always} on {' and '.join(others)}")


def device_kind(name: object) -> str | None:
    """Return `cpu`, `gpu` or `npu`; None for what is not said or not known."""
    if not isinstance(name, str):
        return None
    match = re.match(
        r"(cpu|npu|gpu|igpu|dgpu|cuda|rocm|hip|vulkan|metal|mtl|mps|sycl|dml|directml|webgpu)", name.casefold()
    )
    if match is None:
        return None
    return match[1] if match[1] in ("cpu", "npu") else "gpu"
