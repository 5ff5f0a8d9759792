"""The memory that models really take, beside what was estimated before.

    python benchmarks/fit.py [--model NAME ...] [--context TOKENS ...]

Loads each model in each engine that runs one of its variants, as the program itself does, fills the context with a
prompt, and compares the process's peak (its own pages and those of files) with the estimate. Ends with exit code 1
when an estimate is more than 5 % below what was measured, or more than 35 % above.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from audition.api import find_models, install
from audition.bench.meters.memory import MemoryMeter
from audition.bench.sample import Memory
from audition.engines.host import EngineProcess
from audition.engines.memory import memory_needed
from audition.engines.registry import formats_of
from audition.errors import AuditionError
from audition.models.fit import Need
from audition.models.spec import ModelSpec, Variant

ENGINES = ("llamacpp", "ortgenai", "openvino", "transformers")
MOST_BELOW, MOST_ABOVE = 0.05, 0.35
WORD = " seven"  # one token in every vocabulary measured here


def measured(engine: str, weights: Path, context: int) -> tuple[Memory | None, Memory | None]:
    """Return the process's memory before it loads, and its peak with the context full."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EngineProcess(engine, Path(folder) / "log") as process,
        MemoryMeter(process.pid) as meter,
    ):
        before = meter.now()
        process.load(weights, {"context": context})
        # A chat template and the answer need some room as well.
        prompt = WORD * (context - 64)
        params = {"max_tokens": 8, "temperature": 0.0, "seed": 0}
        reply = process.chat([{"role": "user", "content": prompt}], params, timeout_s=900)
        meter.now()
        if reply.failure:
            raise AuditionError(f"{engine}: {reply.failure[1]}")
        return before, meter.peak


def compare(spec: ModelSpec, variant: Variant, engine: str, context: int) -> bool:
    """Print one line, and return whether the estimate is close enough."""
    installed = install(spec, variant)
    need = memory_needed(installed.header, installed.disk_bytes, format=variant.format, engine=engine, context=context)
    before, peak = measured(engine, installed.weights_path, context)
    if need is None or need.is_lower_bound or peak is None:
        print(f"{variant.id:24} {engine:13} {context:6}  no estimate, or no measurement")
        return False
    error = need.total / peak.total - 1
    is_close = -MOST_BELOW <= error <= MOST_ABOVE
    print(
        f"{variant.id:24} {engine:13} {context:6} {_parts(need)} {need.total / 1e6:7,.0f} {peak.total / 1e6:7,.0f} "
        f"{error:+7.1%} {'' if is_close else 'MISSED ':7}(own {(peak.anonymous or 0) / 1e6:,.0f}, "
        f"files {(peak.file_backed or 0) / 1e6:,.0f}, before loading {before.total / 1e6 if before else 0:,.0f})",
        flush=True,
    )
    return is_close


def _parts(need: Need) -> str:
    return f"{need.weights / 1e6:7,.0f} {(need.kv_cache or 0) / 1e6:6,.0f} {need.working / 1e6:8,.0f}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["smollm2-135m", "gemma-3-270m"])
    parser.add_argument("--engine", nargs="+", default=list(ENGINES))
    parser.add_argument("--context", nargs="+", type=int, default=[512, 4096, 8192])
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    print(
        f"{'variant':24} {'engine':13} {'tokens':>6} {'weights':>7} {'cache':>6} {'working':>8} {'sum':>7} "
        f"{'peak':>7} {'error':>7}   (MB)"
    )
    close = []
    for model in options.model:
        for engine in options.engine:
            try:
                formats_of(engine)
                ((spec, variant),) = find_models([model], [engine])
                close += [compare(spec, variant, engine, context) for context in options.context]
            except AuditionError as error:
                print(f"{model:24} {engine:13} {error.message}")
    return 0 if close and all(close) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
