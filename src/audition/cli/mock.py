"""`audition mock`: a server whose answers, timing, failures and lies are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audition.mock.faults import FAILURES, LIES


def _failures(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    """Read `KIND` or `KIND=EVERY`, each."""
    failures = {}
    for text in given:
        kind, equals, every = text.partition("=")
        if equals and not (every.isascii() and every.isdigit() and len(every) < 10):
            raise click.BadParameter(f'"{every}" is no number: {kind}=5 fails every fifth request', context, parameter)
        failures[kind] = int(every) if equals else 1
    return failures


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others need --api-key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8099, show_default=True, help="0 takes any free one.")
@click.option("--ttft", "ttft_ms", type=float, metavar="MS", help="Delay to the first token.  [default: 50]")
@click.option("--itl", "itl_ms", type=float, metavar="MS", help="Delay from token to token.  [default: 10]")
@click.option("--jitter", type=float, metavar="0..1", help="Share by which every delay varies at most.")
@click.option("--drift", type=float, metavar="SHARE", help="Growth of the delays per minute; 0.5 is 50 %.")
@click.option("--prefill-tps", type=float, metavar="TPS", help="Prompt tokens per second, added to the first delay.")
@click.option("--stall", "stall_ms", type=float, metavar="MS", help="Added before every N-th token (--stall-every).")
@click.option("--stall-every", type=int, metavar="N", help="Which tokens stall.")
@click.option("--tokens", type=int, metavar="N", help="Length of an answer that is not cut.  [default: 64]")
@click.option("--tokens-per-chunk", type=int, metavar="N", help="Tokens in one event.  [default: 1]")
@click.option("--reasoning-tokens", type=int, metavar="N", help="Sent first, as reasoning_content.")
@click.option("--keepalive", is_flag=True, default=None, help="Send comments while the first token is awaited.")
@click.option("--role-delay", "role_delay_ms", type=float, metavar="MS", help="When the event with the role comes.")
@click.option("--context", type=int, metavar="N", help="Tokens of context.  [default: 4096]")
@click.option("--model", metavar="NAME", help="The model's name.  [default: mock]")
@click.option("--device", metavar="NAME", help="The device that is reported.")
@click.option("--seed", type=int, metavar="N", help="Of the jitter.")
@click.option("--api-key", metavar="KEY", help="What requests must bring.")
@click.option(
    "--fail",
    "failures",
    multiple=True,
    callback=_failures,
    metavar="KIND[=N]",
    help="Fail every N-th request; repeatable.",
)
@click.option(
    "--lie", "lies", type=click.Choice(list(LIES)), multiple=True, metavar="NAME", help="Tell a lie; repeatable."
)
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
