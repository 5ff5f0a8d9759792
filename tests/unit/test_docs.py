"""What the documents promise exists: commands, options, links, and no path of one machine."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from audition.cli.main import _VERBS, cli

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((REPOSITORY / "docs").rglob("*.md"))


def commands() -> Iterator[tuple[str, str]]:
    """Yield every `audition ...` command that a document shows, with the document's name."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        shown = re.findall(r"^(?:\$ )?(?:\S*/)?(audition .+)$", text, re.MULTILINE) + re.findall(
            r"`(audition [^`]+)`", text
        )
        for command in shown:
            yield document.name, command.split("  #")[0].split(" && ")[0].split(" | ")[0].strip()


@pytest.mark.parametrize(("document", "command"), sorted(set(commands())))
def test_every_command_shown_exists(document: str, command: str) -> None:
    words = shlex.split(command.replace("...", ""))[1:]
    current: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(current, click.Group):
        if words[0].startswith("-"):
            break
        found = current.get_command(context, words[0])
        assert found is not None, f"{document} shows `{command}`"
        current = found
        words.pop(0)
    known = {option for parameter in current.params for option in parameter.opts} | {"--help", "-h"}
    for option in (word for word in words if word.startswith("--")):
        assert option.split("=")[0] in known, f"{document} shows `{command}`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_the_table_of_verbs_agrees_with_the_verbs(verb: str) -> None:
    location, line = _VERBS[verb]
    module, _, name = location.partition(":")
    command = getattr(importlib.import_module(module), name)
    assert command.name == verb
    assert command.get_short_help_str(limit=200).rstrip(".") == line.rstrip(".")


def test_help_needs_no_heavy_import() -> None:
    import subprocess
    import sys

    heavy = ("numpy", "pydantic", "rich", "psutil", "regex", "xllamacpp", "huggingface_hub", "httpx2")
    code = f"import sys, audition.cli.main as m; print([x for x in {heavy!r} if x in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_the_readme_names_one_test_command_and_it_is_what_ci_runs() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- test command -->\n```console\n(.+)\n```", readme)
    assert block is not None
    assert "pytest" in block[1]
    assert "<!-- test command -->" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
