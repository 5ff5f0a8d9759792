"""`audition bench`: measure models on prompts."""

from __future__ import annotations

from pathlib import Path

import click

from audition.cli.numbers import Number


@click.command()
@click.option(
    "--models",
    envvar="BENCH_MODELS",
    metavar="A,B|FILE",
    help="Models by name, paths of .gguf files and folders, or a models.json, comma separated.",
)
@click.option("--engines", metavar="A,B",
              help="Measure each model in each of these, such as ortgenai.  [default: by its format]")  # fmt: skip
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="URL[#MODEL]",
    help="A server with an OpenAI-compatible API (http:// and /v1 may be left out), and its model; repeatable. "
    "`foundry`, `ollama`, `lmstudio`, `llama-server` and `vllm` stand for where those listen.",
)  # fmt: skip
@click.option("--key-env", metavar="NAME", help="The environment variable that holds the servers' key.")
@click.option("--key-file", type=click.Path(path_type=Path), help="The file that holds the servers' key.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificates to trust besides the system's.")
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
@click.option("--temperature", envvar="BENCH_TEMPERATURE", type=Number(0, 5), default=0.2,
              show_default=True, help="Of the sampler.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Of the sampler, and of the order of models and prompts.")  # fmt: skip
@click.option("--context", type=click.IntRange(64, 10_000_000), default=None,
              help="Tokens of context for every model.  [default: 4096, or what it was trained for]")  # fmt: skip
@click.option("--timeout", type=Number(0.1, 86_400), default=300.0, show_default=True,
              help="Seconds that one answer may take.")  # fmt: skip
@click.option("--concurrency", metavar="N[,N...]", default=None,
              help="Requests under way at once, one load level each.  [default: 1]")  # fmt: skip
@click.option("--rate", metavar="R[,R...]", default=None,
              help="Instead: requests a second, at random moments, timed from their schedule.")  # fmt: skip
@click.option("--duration", metavar="TIME", default=None,
              help="Go on for so long at each level of each load: 30s, 10m. Shows drift.")  # fmt: skip
@click.option("--interleave", is_flag=True, help="Load all models at once and ask them in turn.")
@click.option("--until", metavar="ci=5%", default=None,
              help="Add rounds until each latency is known to so much.")  # fmt: skip
@click.option("--budget", metavar="TIME", default=None,
              help="Add rounds where models are too close to call, until this time is spent: 10m.")  # fmt: skip
@click.option("--prompt-cache", type=click.Choice(["avoid", "keep"]), default="avoid", show_default=True,
              help="`avoid` begins each prompt to a server with a mark of its own.")  # fmt: skip
@click.option("--no-stream", is_flag=True, help="Ask servers for whole answers; there is no time of a first token.")
@click.option("--no-probes", is_flag=True, help="Do not ask first what shows whether a target is honest.")
@click.option("--power-watts", type=Number(0.01, 1_000_000), default=None, metavar="W",
              help="What a meter at the plug shows while models answer.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Where the run goes.  [default: a new folder of its own]")  # fmt: skip
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def bench(
    models: str | None,
    engines: str | None,
    endpoints: tuple[str, ...],
    key_env: str | None,
    key_file: Path | None,
    ca_file: Path | None,
    prompts: str | None,
    rounds: int,
    deterministic: bool,
    max_tokens: int | None,
    temperature: float,
    seed: int,
    context: int | None,
    timeout: float,
    concurrency: str | None,
    rate: str | None,
    duration: str | None,
    interleave: bool,
    until: str | None,
    budget: str | None,
    prompt_cache: str,
    no_stream: bool,
    no_probes: bool,
    power_watts: float | None,
    out: Path | None,
    resume: str | None,
    as_json: bool,
) -> None:
    """Measure models, and servers, on your prompts.

    Each model is loaded in a process of its own, answers a first request, a warm-up and then every prompt, and is
    unloaded; blocks repeat in an order that is shuffled with a recorded seed. Before, each is asked what shows whether
    its numbers can be trusted. A run that was killed goes on with --resume, and ends as it would have.
    """
    from audition import api
    from audition.bench.plan import Settings
    from audition.bench.rundir import RunDir
    from audition.cli import patterns, session
    from audition.engines.server import settings_of
    from audition.errors import UsageError
    from audition.summary.units import parse_duration

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
    chosen = [name.strip() for name in (engines or "").split(",") if name.strip()]
    if engines is not None and not chosen:
        raise UsageError("--engines names no engine", fix="--engines llamacpp,ortgenai, or leave it out")
    if chosen and not names:
        raise UsageError("--engines is for models, and none is named", fix="--models smollm2-135m")
    if not names and not endpoints:
        raise UsageError("no model is named", fix="--models smollm2-135m,gemma-3-270m (see `audition model list`)")
    for option, value in (("--key-env", key_env), ("--key-file", key_file), ("--ca-file", ca_file)):
        if value is not None and not endpoints:
            raise UsageError(f"{option} is for servers, and no --endpoint is named", fix=f"leave {option} out")
    if key_env is not None and key_file is not None:
        raise UsageError("the key is in one place: --key-env or --key-file", fix="leave one of them out")
    servers = [settings_of(text, key_env=key_env, key_file=key_file, ca_file=ca_file) for text in endpoints]
    suite = api.load_suite(prompts or "demo")
    settings = Settings(
        rounds=rounds,
        max_tokens=max_tokens or suite.max_tokens or Settings().max_tokens,
        temperature=0.0 if deterministic else temperature,
        deterministic=deterministic or temperature == 0,
        seed=seed,
        timeout_s=timeout,
        prompt_cache=prompt_cache,
        stream=not no_stream,
        probes=not no_probes,
        interleave=interleave,
        until_ci=None if until is None else patterns.parse_until(until),
        budget_s=None if budget is None else parse_duration(budget) / 1000,
        power_watts=power_watts,
    )
    levels = patterns.parse_levels(concurrency, rate, duration)
    session.start(
        names,
        suite,
        settings,
        engines=chosen,
        servers=servers,
        levels=levels,
        out=out,
        context=context,
        as_json=as_json,
    )
