"""The engine `foundry` against the Foundry Local SDK used directly: do both give the same times and texts?

    python benchmarks/foundry_direct.py FOLDER [--rounds 12] [--tokens 48]

FOLDER is an ONNX GenAI model. Three processes have it loaded: ours, and twice a plain program that uses the SDK as its
documentation shows. They are asked the same prompts one after another, in an order that changes every time. Prints the
median of the paired ratios with a 95 % interval; the last one, of the plain program to itself, is what the machine's
own noise makes of two equal programs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PROMPTS = (
    "What is the capital of France? Answer in one word.",
    "Name three colours.",
    "List 3 privacy benefits of local inference.",
    "Summarize why model size impacts latency on consumer hardware. " * 8,
)
SEED = 1


class Answer(NamedTuple):
    """How long until the first piece of text and until the end, in seconds, and the text."""

    first_s: float
    total_s: float
    text: str


def direct() -> None:
    """The plain program: requests as lines of JSON on standard input, answers on standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.update(CI="true", ORT_DISABLE_TELEMETRY="1", ORT_TELEMETRY_DISABLED="1")
    import foundry_local_sdk as sdk

    home = tempfile.mkdtemp()
    nowhere: list[tuple[str, str | None]] = [("http://127.0.0.1:9/asset-gallery/v1.0/models", None)]
    sdk.FoundryLocalManager.initialize(
        sdk.Configuration("direct", app_data_dir=home, model_cache_dir=home, logs_dir=home, catalog_urls=nowhere)
    )
    manager = sdk.FoundryLocalManager.instance
    assert manager is not None
    catalog = manager.get_catalog(sdk.CatalogType.LOCAL)
    with sdk.ModelInfoBuilder() as metadata:
        metadata.set_string_property("task", "chat-completion")
        model = catalog.register_model(sys.argv[2], "direct:1", metadata)
    model.load()
    search = sdk.SearchOptions(
        temperature=0.0, top_p=1.0, top_k=0, seed=SEED, do_sample=False, max_output_tokens=int(sys.argv[3])
    )
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        first, text = None, ""
        with sdk.ChatSession(model) as session:
            session.set_options(sdk.RequestOptions(search=search))
            session.set_streaming(True)
            with sdk.Request().add_item(sdk.MessageItem.user(json.loads(line))) as request:
                for item in session.process_streaming_request(request):
                    first = first or time.perf_counter()
                    text += item.text if isinstance(item, sdk.TextItem) else ""
                end = time.perf_counter()
        print(json.dumps([(first or end) - start, end - start, text]), file=answers, flush=True)


class Direct:
    """The plain program, from outside."""

    def __init__(self, folder: Path, tokens: int) -> None:
        command = [sys.executable, __file__, "--direct", str(folder), str(tokens)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the direct program ended")
        return line

    def ask(self, prompt: str) -> Answer:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(prompt) + "\n")
        self._process.stdin.flush()
        return Answer(*json.loads(self._line()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Ours:
    """The engine's process."""

    def __init__(self, folder: Path, tokens: int, log: Path) -> None:
        from audition.engines.host import EngineProcess

        self._params = {"max_tokens": tokens, "temperature": 0.0, "seed": SEED}
        self._process = EngineProcess("foundry", log)
        self._process.load(folder.absolute(), {"context": 4096})

    def ask(self, prompt: str) -> Answer:
        reply = self._process.chat([{"role": "user", "content": prompt}], self._params, 600)
        if reply.failure or not reply.chunks:
            raise SystemExit(f"our engine failed: {reply.failure}")
        first = reply.chunks[0].at_ns - reply.sent_ns
        text = "".join(chunk.text for chunk in reply.chunks)
        return Answer(first / 1e9, (reply.end_ns - reply.sent_ns) / 1e9, text)

    def close(self) -> None:
        self._process.close()


def interval(values: list[float]) -> str:
    """Return the median of ratios and a 95 % bootstrap interval of it."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return f"{statistics.median(values):.3f}  [{medians[50]:.3f}, {medians[1949]:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between requests: threads stop spinning")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUDITION_HOME"] = home
        clients: dict[str, Any] = {
            "direct": Direct(options.folder, options.tokens),
            "direct again": Direct(options.folder, options.tokens),
            "ours": Ours(options.folder, options.tokens, Path(home) / "engine.log"),
        }
        try:
            measure(clients, options)
        finally:
            for client in clients.values():
                client.close()


def measure(clients: dict[str, Any], options: argparse.Namespace) -> None:
    orders = itertools.cycle(itertools.permutations(clients))
    seen: dict[str, list[Answer]] = {name: [] for name in clients}
    for number in range(-1, options.rounds):  # the first round warms up
        for prompt in PROMPTS:
            for name in next(orders):
                time.sleep(options.pause)
                answer = clients[name].ask(prompt)
                if number >= 0:
                    seen[name].append(answer)
    print(f"{len(seen['ours'])} paired requests, {len(PROMPTS)} prompts, {options.rounds} rounds\n")
    figures: dict[str, Callable[[Answer], float]] = {
        "time to first token": lambda answer: answer.first_s,
        "latency": lambda answer: answer.total_s,
    }
    for label, figure in figures.items():
        times = {name: [figure(answer) for answer in answers] for name, answers in seen.items()}
        print(f"{label}, ms: " + ", ".join(f"{name} {1e3 * statistics.median(t):.1f}" for name, t in times.items()))
        for one, other in (("ours", "direct"), ("ours", "direct again"), ("direct again", "direct")):
            ratios = [a / b for a, b in zip(times[one], times[other], strict=True)]
            print(f"    {one + ' / ' + other:28}{interval(ratios)}")
    same = sum(a.text == b.text for a, b in zip(seen["ours"], seen["direct"], strict=True))
    print(f"same text: {same} of {len(seen['ours'])}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--direct"]:
        direct()
    else:
        main()
