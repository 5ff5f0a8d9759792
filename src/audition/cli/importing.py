"""`audition model import`: a model of one's own, as it is or converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from audition.store.installed import Installed


@click.command("import")
@click.argument("what", metavar="PATH|NAME")
@click.option("--to", type=click.Choice(["onnx-genai"]), default=None,
              help="Convert it first. `onnx-genai` is what ONNX Runtime GenAI and Foundry Local run.")  # fmt: skip
@click.option("--precision", type=click.Choice(["int4", "int8", "fp16", "fp32"]), default="int4", show_default=True,
              help="Of the converted weights.")  # fmt: skip
@click.option("--name", default=None, metavar="NAME[:VARIANT]", help="What it shall be called.  [default: as it is]")
@click.option("--licence", default=None, metavar="ID", help="Its licence, where its own files do not say: Apache-2.0.")
@click.option("--link", is_flag=True, help="Do not copy: hash it and link to it where it lies.")
def import_(what: str, to: str | None, precision: str, name: str | None, licence: str | None, link: bool) -> None:
    """Take a model of your own into the store, converted first if you like.

    PATH is a .gguf file, or a folder as Hugging Face, ONNX Runtime GenAI or OpenVINO have it; NAME is a model of the
    catalog, to convert. Its files are looked at first: what is missing or wrong is said before anything is copied.

    With --link, NAME is what another tool has: ollama:NAME[:TAG], lmstudio:PUBLISHER/REPO[/FILE], or
    hf:OWNER/REPO[:QUANT] of the Hugging Face cache (`audition model list --elsewhere`). The original stays as it is.
    """
    from audition import api
    from audition.cli import output

    given = click.get_current_context().get_parameter_source("precision") is click.core.ParameterSource.COMMANDLINE
    if given and to is None:
        raise click.UsageError("--precision is of a conversion: add --to onnx-genai")
    if link and to is not None:
        raise click.UsageError("--link takes a model as it is: leave --to out")
    with output.download_progress() as progress:
        if link:
            _say_linked(api.link_model(what, name=name, licence=licence, progress=progress))
            return
        imported = api.import_model(what, to=to, precision=precision, name=name, licence=licence, progress=progress)
    _say(imported, "is in the store")


def _say_linked(linked: Installed) -> None:
    from audition.cli import output
    from audition.text import printable

    links = list(linked.links.values())
    if not links:
        _say(linked, "is in the store already, as a copy of its own")
        return
    _say(linked, "is linked, not copied")
    kind = "A hard link" if all(link.kind == "hard" for link in links) else "A symbolic link"
    where = printable(links[0].path) if len(links) == 1 else f"{len(links)} files"
    stays = "stays when the original is removed" if kind == "A hard link" else "breaks when the original is removed"
    output.stderr().print(f"{kind} to {where}: it {stays}.", soft_wrap=True)


def _say(imported: Installed, state: str) -> None:
    from audition.cli import output
    from audition.report.figures import size

    quantization = imported.quantization or "quantization unknown"
    output.stdout().print(
        f"{imported.id} {state}: {imported.format}, {quantization}, {size(imported.disk_bytes)}, "
        f"licence {imported.licence}, sha256 {imported.digest}",
        soft_wrap=True,
    )
    if not imported.header.has_chat_template:
        output.stderr().print("note: it has no chat template, so engines have to guess how to ask it")
