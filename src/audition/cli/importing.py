"""`audition model import`: a model of one's own, as it is or converted."""

from __future__ import annotations

import click


@click.command("import")
@click.argument("what", metavar="PATH|NAME")
@click.option("--to", type=click.Choice(["onnx-genai"]), default=None,
              help="Convert it first. `onnx-genai` is what ONNX Runtime GenAI and Foundry Local run.")  # fmt: skip
@click.option("--precision", type=click.Choice(["int4", "int8", "fp16", "fp32"]), default="int4", show_default=True,
              help="Of the converted weights.")  # fmt: skip
@click.option("--name", default=None, metavar="NAME[:VARIANT]", help="What it shall be called.  [default: as it is]")
@click.option("--licence", default=None, metavar="ID", help="Its licence, where its own files do not say: Apache-2.0.")
def import_(what: str, to: str | None, precision: str, name: str | None, licence: str | None) -> None:
    """Take a model of your own into the store, converted first if you like.

    PATH is a .gguf file, or a folder as Hugging Face, ONNX Runtime GenAI or OpenVINO have it; NAME is a model of the
    catalog, to convert. Its files are looked at first: what is missing or wrong is said before anything is copied.
    """
    from audition import api
    from audition.cli import output
    from audition.report.figures import size

    given = click.get_current_context().get_parameter_source("precision") is click.core.ParameterSource.COMMANDLINE
    if given and to is None:
        raise click.UsageError("--precision is of a conversion: add --to onnx-genai")
    with output.download_progress() as progress:
        imported = api.import_model(what, to=to, precision=precision, name=name, licence=licence, progress=progress)
    console = output.stdout()
    quantization = imported.quantization or "quantization unknown"
    console.print(
        f"{imported.id} is in the store: {imported.format}, {quantization}, {size(imported.disk_bytes)}, "
        f"licence {imported.licence}, sha256 {imported.digest}",
        soft_wrap=True,
    )
    if not imported.header.has_chat_template:
        output.stderr().print("note: it has no chat template, so engines have to guess how to ask it")
