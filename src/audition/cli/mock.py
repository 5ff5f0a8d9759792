"""`audition mock`: a server whose answers, timing, failures and lies are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from audition.cli.numbers import Number
from audition.errors import UsageError, bound
from audition.mock.faults import FAILURES, LIES
from audition.mock.script import EVERY, INTEGERS, NUMBERS

F = TypeVar("F", bound=Callable[..., Any])


def _failures(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    """Read `KIND` or `KIND=EVERY`, each."""
    failures = {}
    for text in given:
        kind, equals, every = text.partition("=")
        if equals and not (every.isascii() and every.isdigit() and EVERY[0] <= int(every[:10]) <= EVERY[1]):
            raise UsageError(
                f"--fail {kind} takes whole numbers from {bound(EVERY[0])} to {bound(EVERY[1])}, not {every!r:.40}",
                fix=f"--fail {kind}=5 fails every fifth request",
            )
        failures[kind] = int(every) if equals else 1
    return failures


def _number(option: str, field: str, metavar: str, help_: str) -> Callable[[F], F]:
    """Return the option for a number of the script, with the script's bounds."""
    kind = click.IntRange(*INTEGERS[field]) if field in INTEGERS else Number(*NUMBERS[field])
    return click.option(option, field, type=kind, metavar=metavar, help=help_)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others need --api-key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8099, show_default=True, help="0 takes any free one.")
@_number("--ttft", "ttft_ms", "MS", "Delay to the first token.  [default: 50]")
@_number("--itl", "itl_ms", "MS", "Delay from token to token.  [default: 10]")
@_number("--jitter", "jitter", "0..1", "Share by which every delay varies at most.")
@_number("--drift", "drift", "SHARE", "Growth of the delays per minute; 0.5 is 50 %.")
@_number("--prefill-tps", "prefill_tps", "TPS", "Prompt tokens per second, added to the first delay.")
@_number("--stall", "stall_ms", "MS", "Added before every N-th token (--stall-every).")
@_number("--stall-every", "stall_every", "N", "Which tokens stall.")
@_number("--tokens", "tokens", "N", "Length of an answer that is not cut.  [default: 64]")
@_number("--tokens-per-chunk", "tokens_per_chunk", "N", "Tokens in one event.  [default: 1]")
@_number("--reasoning-tokens", "reasoning_tokens", "N", "Sent first, as reasoning_content.")
@click.option("--keepalive", is_flag=True, default=None, help="Send comments while the first token is awaited.")
@_number("--role-delay", "role_delay_ms", "MS", "When the event with the role comes.")
@_number("--context", "context", "N", "Tokens of context.  [default: 4096]")
@click.option("--model", metavar="NAME", help="The model's name.  [default: mock]")
@click.option("--device", metavar="NAME", help="The device that is reported.")
@_number("--seed", "seed", "N", "Of the jitter.")
@click.option("--api-key", metavar="KEY", help="What requests must bring.")
@click.option(
    "--fail",
    "failures",
    multiple=True,
    callback=_failures,
    metavar="KIND[=N]",
    help="Fail every N-th request; repeatable.",
)
@click.option("--lie", "lies", multiple=True, metavar="NAME", help="Tell a lie; repeatable.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Add the truth about each request here.")
@click.option(
    "--script", "file", type=click.Path(dir_okay=False, path_type=Path), help="JSON with the same; options win."
)
@click.option("--list", "list_", is_flag=True, help="List the failures and the lies, and end.")
def mock(host: str, port: int, log: Path | None, file: Path | None, list_: bool, **given: Any) -> None:
    """Serve programmed delays, failures and lies, to test a benchmark client with.

    It speaks the OpenAI chat API on 127.0.0.1 until Ctrl-C.
    """
    if list_:
        _list()
        return
    from audition.jsonfile import read_json
    from audition.mock.script import Script
    from audition.mock.server import run

    data = read_json(file) if file is not None else {}
    given["failures"] = given["failures"] or None
    given["lies"] = list(given["lies"]) or None
    if isinstance(data, dict):  # anything else is refused in the script's own words
        data |= {name: value for name, value in given.items() if value is not None}
    script = Script.from_mapping(data, str(file) if file is not None else "the script")
    try:
        run(script, host, port, log, lambda url, _: click.echo(f"{url}  (Ctrl-C stops it)", err=True))
    except KeyboardInterrupt:
        return  # how a server is ended, and no fault


def _list() -> None:
    width = max(map(len, [*FAILURES, *LIES]))
    for title, names in (("Failures (--fail NAME, --fail NAME=EVERY)", FAILURES), ("Lies (--lie NAME)", LIES)):
        click.echo(title)
        for name, line in names.items():
            click.echo(f"  {name:<{width}}  {line}")
