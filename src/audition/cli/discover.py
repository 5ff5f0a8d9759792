"""`audition model list`, `search` and `info`: which models there are, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from audition.api.discover import Filtered, Filters
    from audition.api.hub_models import HubSearch
    from audition.api.this_machine import ThisMachine
    from audition.store.store import Store

_F = TypeVar("_F", bound=Callable[..., Any])

FORMATS = ("gguf", "onnx-genai", "safetensors", "openvino")

_TOKENS = click.IntRange(1, 10_000_000)
_CONTEXT_HELP = "That memory is estimated for.  [default: 4096, or what the model was trained for if less]"

_FILTERS = (
    click.option("--family", help="Such as qwen."),
    click.option("--capability", "capabilities", multiple=True, help="Such as chat or tools; all that are given."),
    click.option("--licence", "licences", multiple=True, metavar="CLASS|ID",
                 help="permissive, or an identifier such as Apache-2.0; any that is given."),
    click.option("--fits", type=click.Choice(["yes", "tight"]), help="Into this machine's memory; tight takes both."),
    click.option("--max-size", metavar="SIZE", help="Of the files: 500MB, 2GB."),
    click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Any that is given."),
    click.option("--engine", "engines", multiple=True, help="That can run it, such as llamacpp; any that is given."),
    click.option("--context", type=_TOKENS, metavar="TOKENS", help=_CONTEXT_HELP),
    click.option("--json", "as_json", is_flag=True, help="Print as JSON."),
)  # fmt: skip


def _with_filters(command: _F) -> _F:
    """Give a command the options that narrow a list of models down."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.command("list")
@click.option("--downloaded", is_flag=True, help="Only what is on this disk.")
@click.option("--source", type=click.Choice(["foundry"]), help="List Foundry Local's own catalog instead.")
@click.option("--elsewhere", is_flag=True, help="List what Ollama, LM Studio and Hugging Face's cache have instead.")
@_with_filters
def list_(source: str | None, elsewhere: bool, context: int | None, as_json: bool, **filters: Any) -> None:
    """List models, what each takes, and whether it fits.

    It is the catalog and what is on this disk; the latter comes first, then by name. Nothing is asked over the
    network, but with --source foundry.
    """
    from audition.api.discover import filtered, list_models
    from audition.api.this_machine import ThisMachine
    from audition.cli import output
    from audition.store.store import Store

    machine = ThisMachine(context)
    wanted = _filters(filters)
    if source is not None and elsewhere:
        raise click.UsageError("--source and --elsewhere are two lists: give one of them")
    if source == "foundry":
        from audition.cli.foundry import list_foundry

        list_foundry(wanted, machine, as_json=as_json)
        return
    store = Store()
    if elsewhere:
        _list_elsewhere(wanted, machine, store, as_json=as_json)
        return
    show(filtered(list_models(machine, store), wanted), machine, as_json=as_json)
    for trouble in store.troubles():
        output.stderr().print(f"note: {trouble.message}; {trouble.fix}", soft_wrap=True)


def show(found: Filtered, machine: ThisMachine, *, as_json: bool) -> None:
    """Print the rows that filters left, as a table with its legend, or as JSON."""
    from audition.cli import output
    from audition.report.models import legend, models_table

    rows = [row.to_json() for row in found.rows]
    if as_json:
        output.print_json(rows)
    elif rows:
        console = output.stdout(wide=True)
        console.print(models_table(rows))
        console.print(legend(rows, machine.memory), style="dim", soft_wrap=True)
    else:
        output.stdout().print("No model is like that.")
    say_left_out(found)


def _list_elsewhere(filters: Filters, machine: ThisMachine, store: Store, *, as_json: bool) -> None:
    from audition.api.discover import filtered
    from audition.api.elsewhere import list_elsewhere
    from audition.cli import output
    from audition.report.models import elsewhere_table, legend
    from audition.text import one_line

    models, problems = list_elsewhere(machine, store)
    by_row = {id(model.row): model for model in models}
    found = filtered((model.row for model in models), filters)
    rows = [by_row[id(row)].to_json() for row in found.rows]
    if as_json:
        output.print_json(rows)
    elif rows:
        console = output.stdout(wide=True)
        console.print(elsewhere_table(rows))
        console.print(legend(rows, machine.memory), style="dim", soft_wrap=True)
        first = next((row for row in rows if row["state"] == "no"), rows[0])
        command = one_line(first["how_to_link"], 400)
        console.print(f"To use one in place, without a copy: {command}", style="dim", soft_wrap=True)
    else:
        output.stdout().print("No model is like that." if models else "No other tool has a model here.")
    say_left_out(found)
    for problem in problems:
        output.stderr().print(f"note: {problem}", soft_wrap=True)


def say_left_out(found: Filtered) -> None:
    """Say what was left out because nobody knows, and what a word that nothing has may have meant."""
    from audition.cli import output
    from audition.summary.units import counted

    talk = output.stderr()
    if found.hint:
        talk.print(f"note: {found.hint}", soft_wrap=True)
    if found.unknown:
        talk.print(
            f"note: left out, because it is not known whether they are so: {counted(found.unknown, 'model')}",
            soft_wrap=True,
        )


def _filters(options: dict[str, Any]) -> Filters:
    from audition.api.discover import Filters
    from audition.summary.units import parse_size

    size = options.pop("max_size")
    return Filters(max_bytes=None if size is None else parse_size(size), **options)


@click.command()
@click.argument("name")
@click.option("--context", type=_TOKENS, metavar="TOKENS", help=_CONTEXT_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(name: str, context: int | None, as_json: bool) -> None:
    """Show what is known of a model, and from where.

    Nothing is downloaded. NAME is an alias, `alias:variant`, hf:owner/repo[:QUANT], foundry:name, or the path of a
    file or folder.
    """
    from audition.api.facts import model_facts
    from audition.api.this_machine import ThisMachine
    from audition.cli import output
    from audition.report.model_facts import render_facts

    machine = ThisMachine(context)
    with output.working("Looking at it"):
        facts = model_facts(name, machine).to_json()
    if as_json:
        output.print_json(facts)
    else:
        output.stdout().print(render_facts(facts, machine.memory))


@click.command()
@click.argument("text", required=False, default="")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Repositories to look at.")
@click.option("--sort", type=click.Choice(["downloads", "likes", "modified", "relevance"]), default="downloads",
              show_default=True, help="The highest first; relevance leaves it to the hub.")  # fmt: skip
@_with_filters
def search(text: str, limit: int, sort: str, context: int | None, as_json: bool, **filters: Any) -> None:
    """Search Hugging Face for models, and tell which fit.

    It looks for TEXT in the names of repositories, on the hub that HF_ENDPOINT names if it is set; without --format
    for GGUF files. The first bytes of each model's file are read, for the estimate; nothing is downloaded. The first
    column is what to type next: audition model download hf:owner/repo:QUANT.
    """
    from audition.api.hub_models import search_hub
    from audition.api.this_machine import ThisMachine
    from audition.cli import output

    machine, wanted = ThisMachine(context), _filters(filters)
    with output.working("Asking the hub") as progress:
        found = search_hub(
            text,
            wanted,
            limit=limit,
            sort=None if sort == "relevance" else sort,
            machine=machine,
            progress=progress,
        )
    if as_json:
        output.print_json(found.to_json())
        return
    _show_search(found, machine)


def _show_search(found: HubSearch, machine: ThisMachine) -> None:
    from audition.cli import output
    from audition.report.models import legend, search_table
    from audition.summary.units import counted
    from audition.text import one_line

    rows = [row.to_json() for row in found.rows]
    if rows:
        console = output.stdout(wide=True)
        console.print(search_table(rows))
        console.print(legend(rows, machine.memory), style="dim", soft_wrap=True)
    else:
        output.stdout().print("The hub has no model like that.")
    talk = output.stderr()
    for name, why in found.unread:
        talk.print(f"note: {one_line(name, 100)} is left out: {one_line(why, 300)}", soft_wrap=True)
    for row in rows:
        if row["problem"]:
            why = one_line(row["problem"], 300)
            talk.print(f"note: {row['repository']}: estimated without its header: {why}", soft_wrap=True)
    if found.filtered_out:
        unknown = f", {found.unknown} of them because it is not known" if found.unknown else ""
        talk.print(
            f"note: {counted(found.filtered_out, 'model')} found that the options leave out{unknown}", soft_wrap=True
        )
