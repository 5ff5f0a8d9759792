"""`audition run`: talk to a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from audition.engines.host import EngineProcess
    from audition.engines.protocol import Reply


@click.command()
@click.argument("model")
@click.option(
    "--prompt",
    help="Answer this and end; without it, standard input or a chat.",
)
@click.option("--system", help="What the model is told before anything else.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 100_000),
    default=512,
    show_default=True,
    help="The most an answer may have.",
)
@click.option("--temperature", type=click.FloatRange(0, 5), default=0.2, show_default=True, help="Of the sampler.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the sampler.")
@click.option("--context", type=click.IntRange(64, 10_000_000), default=None, help="Tokens of context.")
def run(
    model: str,
    prompt: str | None,
    system: str | None,
    max_tokens: int,
    temperature: float,
    seed: int,
    context: int | None,
) -> None:
    """Chat with a model, or answer one prompt.

    MODEL is a model's name, or the path of a .gguf file or a model's folder; it is downloaded when it is not here. The
    answer goes to standard output as it is written, everything else to standard error.
    """
    from audition.cli import output
    from audition.engines.host import EngineProcess
    from audition.errors import UsageError

    piped = prompt is None and not sys.stdin.isatty()
    if piped:
        try:
            prompt = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError("standard input is not UTF-8 text", fix="convert it first, with iconv say") from error
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty", fix='audition run MODEL --prompt "..."')
    engine, weights, settings, log = _ready(model, context)
    messages = [{"role": "system", "content": system}] if system else []
    params = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    with EngineProcess(engine, log) as process:
        with output.stderr().status(f"loading {model}"):
            process.load(weights, settings)
        if prompt is not None:
            reply = _answer(process, [*messages, {"role": "user", "content": prompt}], params)
            _check(reply)
            return
        _chat(process, messages, params)


def _ready(name: str, context: int | None) -> tuple[str, Path | None, dict[str, Any], Path]:
    """Return engine, weights, settings and log of a model, downloaded if need be and known to fit into memory."""
    from audition import api
    from audition.bench.machine import available_memory
    from audition.bench.subject import need_memory
    from audition.bench.targets import make_target
    from audition.cli import output
    from audition.cli.lock import say_lock
    from audition.engines.registry import engine_for
    from audition.paths import logs_dir

    say_lock([name])
    spec, variant = api.find_model(name)
    with output.download_progress() as progress:
        installed = api.install(spec, variant, progress=progress)
    engine = engine_for(variant.format, spec.engine)
    target = make_target(spec, variant, installed, engine, {}, context)
    need_memory([target], available_memory())
    log = logs_dir() / "run.log"
    log.unlink(missing_ok=True)
    return engine, installed.weights_path if installed.files else None, target.settings, log


def _answer(process: EngineProcess, messages: list[dict[str, str]], params: dict[str, Any]) -> Reply:
    """Stream one answer to standard output; return the reply."""
    from audition.text import printable

    def show(text: str, reasoning: bool) -> None:
        stream = sys.stderr if reasoning else sys.stdout
        stream.write(printable(text))
        stream.flush()

    reply = process.chat(messages, params, timeout_s=86_400, on_text=show)
    if reply.chunks:
        sys.stdout.write("\n")
        sys.stdout.flush()
    return reply


def _check(reply: Reply) -> None:
    """Say what a reader of the answer alone would not see."""
    from audition.errors import AuditionError

    if reply.failure is not None:
        code, message = reply.failure
        raise AuditionError(message, code=code)
    if reply.finish is not None and reply.finish.reason == "length":
        click.echo("(cut at the token limit; --max-tokens raises it)", err=True)


def _chat(process: EngineProcess, messages: list[dict[str, str]], params: dict[str, Any]) -> None:
    """Take turns until the person leaves."""
    from audition.errors import AuditionError

    click.echo("Chat. /exit or Ctrl-D leaves, Ctrl-C stops an answer, /reset forgets what was said.", err=True)
    start = len(messages)
    while True:
        try:
            said = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return
        if said in ("/exit", "/quit", "/bye"):
            return
        if said == "/reset":
            del messages[start:]
            continue
        if not said:
            continue
        messages.append({"role": "user", "content": said})
        try:
            reply = _answer(process, messages, params)
            _check(reply)
        except KeyboardInterrupt:
            click.echo("\n(stopped)", err=True)
            messages.pop()
            continue
        except AuditionError as error:
            if error.code in ("engine_crashed", "engine_hung"):
                raise
            click.echo(f"error: {error.message}", err=True)
            messages.pop()
            continue
        answer = "".join(chunk.text for chunk in reply.chunks if not chunk.reasoning)
        messages.append({"role": "assistant", "content": answer})
