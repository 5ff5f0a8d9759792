"""`audition`: finds the verb, runs it, and turns every error into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

import audition
from audition.errors import AuditionError, nearest

# Verb, where it lives, and its line in the help; a module is imported only when its verb is used.
_VERBS = {
    "demo": ("audition.cli.demo:demo", "Audition two small models on this machine, from download to pick."),
    "bench": ("audition.cli.bench:bench", "Measure models, and servers, on your prompts."),
    "pick": ("audition.cli.pick:pick", "Choose from a run, under your constraints, with the reasons."),
    "report": ("audition.cli.report:report", "Show a run, and write its report files again."),
    "compare": ("audition.cli.compare:compare", "Compare two runs, as a gate for CI too."),
    "run": ("audition.cli.run:run", "Chat with a model, or answer one prompt."),
    "model": ("audition.cli.model:model", "List, download, import, verify and remove models."),
    "cache": ("audition.cli.cache:cache", "Show what is kept on this disk, and where."),
    "doctor": ("audition.cli.doctor:doctor", "Check engines, machine and store, or a model's files."),
    "mock": ("audition.cli.mock:mock", "Serve programmed delays, failures and lies, to test a benchmark client with."),
}


class _Verbs(click.Group):
    """A group that knows its verbs by name and imports them one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, _, name = _VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            hint = nearest(args[0], list(_VERBS)) or "audition --help lists the commands"
            raise click.UsageError(f'there is no command "{args[0]}": {hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(audition.__version__, prog_name="audition")
@click.option("--debug", is_flag=True, envvar="AUDITION_DEBUG", help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Choose the local language model your product ships with: on your hardware, with your prompts, with evidence.

    Everything the program keeps lies in one folder, which AUDITION_HOME sets and `audition cache location` prints.
    """
    ctx.obj = debug


def main() -> None:
    """Run the command line; the exit code is 0 ok, 1 failed, 2 usage, 3 gate not met, 130 interrupted."""
    debug = "--debug" in sys.argv[1:2] or bool(os.environ.get("AUDITION_DEBUG"))
    try:
        status = cli.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Abort:
        _say("interrupted")
        sys.exit(130)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AuditionError as error:
        if debug:
            raise
        _say(f"error: {error.message}")
        if error.fix:
            _say(f"  fix: {error.fix}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`audition ... | head`); that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        _say(f"error: an unexpected fault inside the program: {type(error).__name__}: {error}")
        _say("  fix: run it again as `audition --debug ...`, and report what it prints")
        sys.exit(1)


def _say(text: str) -> None:
    from audition.text import printable

    click.echo(printable(text), err=True)
