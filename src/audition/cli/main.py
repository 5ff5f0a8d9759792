"""`audition`: finds the verb, runs it, and turns every error into one sentence and an exit code."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import NoReturn

import click

import audition
from audition.errors import AuditionError, UsageError, bound, nearest

# Verb, where it lives, and its line in the help; a module is imported only when its verb is used.
_VERBS = {
    "demo": ("audition.cli.demo:demo", "Audition two small models on this machine, from download to pick."),
    "bench": ("audition.cli.bench:bench", "Measure models, and servers, on your prompts."),
    "pick": ("audition.cli.pick:pick", "Choose from a run, under your constraints, with the reasons."),
    "report": ("audition.cli.report:report", "Show a run, and write its report files again."),
    "compare": ("audition.cli.compare:compare", "Compare two runs, as a gate for CI too."),
    "run": ("audition.cli.run:run", "Chat with a model, or answer one prompt."),
    "model": ("audition.cli.model:model", "List, find, download, import, verify and remove models."),
    "cache": ("audition.cli.cache:cache", "Show what is kept on this disk, and where; remove leftovers."),
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
        status = cli.main(prog_name="audition", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Abort:
        _say("interrupted")
        sys.exit(130)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_in_our_words(error))
    except AuditionError as error:
        if debug:
            raise
        _fail(error)
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


def _fail(error: AuditionError) -> NoReturn:
    _say(f"error: {error.message}")
    if error.fix:
        _say(f"  fix: {error.fix}")
    sys.exit(error.exit_code)


def _in_our_words(error: click.ClickException) -> AuditionError:
    """Return what click has to say of a command line as one sentence and a fix."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else " ".join(["audition", *(v for v in sys.argv[1:2] if v in _VERBS)])
    message, fix = error.format_message().rstrip("."), f"{path} --help"
    unknown = re.match(r"No such command '(.*)'", error.message)
    if unknown and context and isinstance(context.command, click.Group):
        message = f'{path} has no command "{unknown[1]}"'
        fix = nearest(unknown[1], context.command.list_commands(context)) or fix
    elif isinstance(error, click.NoSuchOption) and context:
        message = f"{path} has no option {error.option_name}"
        known = [name for parameter in context.command.params for name in parameter.opts]
        fix = nearest(error.option_name, known) or fix
    elif isinstance(error, click.MissingParameter) and error.param and context:
        message = f"{_name(error.param, context)} is missing"
        fix = " ".join([path, *context.command.collect_usage_pieces(context)])
    elif isinstance(error, click.BadParameter) and error.param:
        message, hint = _what_it_takes(error, error.param)
        fix = hint or fix
    elif isinstance(error, click.BadOptionUsage):
        message = message.replace(f"Option {error.option_name!r}", error.option_name)
    return UsageError(message, fix=fix)


def _what_it_takes(error: click.BadParameter, parameter: click.Parameter) -> tuple[str, str | None]:
    """Return `--rounds takes whole numbers from 1 to 1,000, not '0'`, and what may have been meant."""
    kind, name = parameter.type, _name(parameter, error.ctx)
    given = error.message.partition(" is not ")[0].strip("'")
    if isinstance(kind, click.Choice):
        choices = [str(choice) for choice in kind.choices]
        listed = " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
        return f"{name} takes {listed}, not {given!r:.40}", nearest(given, choices)
    what = {"integer": "whole numbers", "float": "numbers"}.get(kind.name.removesuffix(" range"))
    if what is None:
        return f"{name}: {error.message.rstrip('.')}", None
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    bounds = "" if low is None or high is None else f" from {bound(low)} to {bound(high)}"
    return f"{name} takes {what}{bounds}, not {given!r:.40}", None


def _name(parameter: click.Parameter, context: click.Context | None) -> str:
    """Return an option as it is typed, the variable that stood for it, or an argument as the help shows it."""
    source = context.get_parameter_source(str(parameter.name)) if context else None
    if source is click.core.ParameterSource.ENVIRONMENT and isinstance(parameter.envvar, str):
        return parameter.envvar
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name


def _say(text: str) -> None:
    from audition.text import printable

    click.echo(printable(text), err=True)
