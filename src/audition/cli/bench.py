"""`audition bench`: measure models on prompts."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--models",
    envvar="BENCH_MODELS",
    metavar="A,B|FILE",
    help="Models by name, paths of .gguf files, or a models.json, comma separated.",
)
@click.option(
    "--prompts",
    metavar="FILE",
    help="A prompts.json; `demo` is the suite that comes with the program (the default).",
)
@click.option("--rounds", envvar="BENCH_ROUNDS", type=click.IntRange(1, 1000), default=3, show_default=True,
              help="How often each model is loaded and answers all prompts.")  # fmt: skip
@click.option("--deterministic", is_flag=True, help="Temperature 0 and a fixed seed, and check that answers repeat.")
@click.option("--max-tokens", envvar="BENCH_MAX_TOKENS", type=click.IntRange(1, 100_000), default=None,
              help="The most tokens an answer may have.  [default: what the prompts file says, else 120]")  # fmt: skip
@click.option("--temperature", envvar="BENCH_TEMPERATURE", type=click.FloatRange(0, 5), default=0.2,
              show_default=True, help="Of the sampler.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Of the sampler, and of the order of models and prompts.")  # fmt: skip
@click.option("--context", type=click.IntRange(64, 10_000_000), default=None,
              help="Tokens of context for every model.  [default: 4096, or what it was trained for]")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1, 86_400), default=300.0, show_default=True,
              help="Seconds that one answer may take.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Where the run goes.  [default: a new folder of its own]")  # fmt: skip
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def bench(
    models: str | None,
    prompts: str | None,
    rounds: int,
    deterministic: bool,
    max_tokens: int | None,
    temperature: float,
    seed: int,
    context: int | None,
    timeout: float,
    out: Path | None,
    resume: str | None,
    as_json: bool,
) -> None:
    """Measure models on your prompts.

    Each model is loaded in a process of its own, answers a first request, a warm-up and then every prompt, and is
    unloaded; blocks repeat in an order that is shuffled with a recorded seed. A run that was killed goes on with
    --resume, and ends as it would have.
    """
    from audition import api
    from audition.bench.plan import Settings
    from audition.bench.rundir import RunDir
    from audition.cli import session
    from audition.errors import UsageError

    if resume is not None:
        context_ = click.get_current_context()
        for parameter in context_.command.params:
            name = str(parameter.name)
            given = context_.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            if given and name not in ("resume", "as_json"):
                option = parameter.opts[0]
                raise UsageError(
                    f"--resume goes on with the plan of its run, so {option} has no say", fix=f"leave {option} out"
                )
        session.go_on(RunDir.open(resume), as_json=as_json)
        return
    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    if not names:
        raise UsageError("no model is named", fix="--models smollm2-135m,gemma-3-270m (see `audition model list`)")
    suite = api.load_suite(prompts or "demo")
    settings = Settings(
        rounds=rounds,
        max_tokens=max_tokens or suite.max_tokens or Settings().max_tokens,
        temperature=0.0 if deterministic else temperature,
        deterministic=deterministic or temperature == 0,
        seed=seed,
        timeout_s=timeout,
    )
    session.start(names, suite, settings, out=out, context=context, as_json=as_json)
