"""What this machine can run: its engines by format, and how much memory a model would take of what there is."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from audition.bench.machine import machine_memory
from audition.engines.memory import memory_needed
from audition.engines.reference import engine_name
from audition.engines.registry import runners
from audition.models.fit import DEFAULT_CONTEXT, Fit, Memory, Need, fit, fit_gpu
from audition.models.header import ModelHeader
from audition.models.spec import ANY, ModelSpec, Variant


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much memory a variant would take, and whether this machine has it.

    Attributes:
        fit: `unknown` where the size is.
        fit_gpu: Whether it fits into the GPU's memory; None where there is none to ask.
        need: Bytes by what they are for; None where nothing is known.
        context: The tokens that it was made for.
        engine: The engine that it was made for; None where none here loads the format.
    """

    fit: Fit
    fit_gpu: Fit | None
    need: Need | None
    context: int
    engine: str | None


class ThisMachine:
    """This machine, looked at once: memory and engines, without starting a process."""

    def __init__(self, context: int | None = None) -> None:
        """Look at the machine.

        Args:
            context: Tokens that a model is to hold; None takes what `run` and `bench` do: 4,096, or less where it was
                trained for less.
        """
        self.memory: Memory = machine_memory()
        self._context = context
        self._parallel = 1
        self._runners = runners()

    def at(self, *, context: int | None, parallel: int = 1) -> ThisMachine:
        """Return the same machine for another context, or for several requests at once."""
        other = copy(self)
        other._context, other._parallel = context, parallel
        return other

    def engines(
        self, format_: str, asked: str | None = None, *, in_parts: bool = False
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the engines that load a format: those installed, and those that are not.

        Args:
            format_: The format.
            asked: The one engine that the model's entry asks for; one of a person's own counts as installed.
            in_parts: Whether a GGUF model is in several files, which only the format's own engine loads.
        """
        able = [runner for runner in self._runners if format_ in runner.formats]
        able = able[:1] if in_parts else able
        if asked is not None:
            own = engine_name(asked)
            able = [runner for runner in self._runners if runner.name == own]
            if not able:
                return (own,), ()
        elif format_ == ANY:
            return (), ()
        here = tuple(runner.name for runner in able if not runner.missing)
        return here, tuple(runner.name for runner in able if runner.missing)

    def estimate(
        self,
        spec: ModelSpec | None,
        variant: Variant,
        header: ModelHeader | None = None,
        size: int | None = None,
        *,
        engine: str | None = None,
    ) -> Estimate:
        """Return whether a variant fits into this machine's memory, from whatever is known of it.

        Args:
            spec: Its model's entry.
            variant: The variant.
            header: Facts of its files, where they were read.
            size: Bytes of its weights; None takes what the variant says.
            engine: The engine that is to run it; None takes the entry's, or the first installed one for the format.
        """
        asked = engine or (spec.engine if spec else None)
        here, missing = self.engines(variant.format, asked)
        chosen = next(iter((*here, *missing)), None)
        trained = (header.context_length if header else None) or (spec.context_length if spec else None)
        context = self._context or min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)
        need = memory_needed(
            header or (spec.shape if spec else None),
            variant.size if size is None else size,
            format=variant.format,
            engine=chosen,
            context=context,
            parallel=self._parallel,
            parameters=(header.parameters if header else None) or (spec.parameters if spec else None),
            quantization=variant.quantization,
        )
        return Estimate(fit(need, self.memory), fit_gpu(need, self.memory), need, context, chosen)
