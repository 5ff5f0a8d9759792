"""Engines by name, without importing any of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from audition.engines.registry import engine_for, engine_names, find_engine
from audition.errors import UsageError


def test_the_engine_that_comes_with_the_program_is_registered() -> None:
    assert "llamacpp" in engine_names()
    assert find_engine("llamacpp").value == "audition.engines.llamacpp:LlamaCpp"


@pytest.mark.usefixtures("faulty")
def test_engines_of_other_packages_are_found_in_order() -> None:
    names = engine_names()
    assert {"steady", "missing", "llamacpp"} <= set(names)
    assert names == sorted(set(names))


def test_names_are_read_without_importing_an_engine() -> None:
    program = """
import sys
from audition.engines.registry import engine_for, engine_names, find_engine, formats_of
engine_names(), engine_for("gguf"), find_engine("llamacpp")
print([name for name in sys.modules if name.startswith(("xllamacpp", "audition.engines.llamacpp", "numpy"))])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.usefixtures("faulty")
def test_a_broken_engine_is_found_like_any_other() -> None:
    assert find_engine("missing").value == "faulty_engines:Missing"


@pytest.mark.parametrize(("asked", "meant"), [("lamacpp", "llamacpp"), ("LLAMACPP", "llamacpp"), ("stedy", "steady")])
@pytest.mark.usefixtures("faulty")
def test_an_unknown_name_brings_the_nearest(asked: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f'there is no engine "{asked}"') as caught:
        find_engine(asked)
    assert f'"{meant}"' in str(caught.value.fix)
    assert caught.value.code == "engine_unavailable"


def test_a_name_like_no_other_brings_all_of_them() -> None:
    with pytest.raises(UsageError) as caught:
        find_engine("qqqqqqqq")
    assert caught.value.fix is not None
    assert "llamacpp" in caught.value.fix


def test_gguf_runs_on_llamacpp_unless_another_engine_is_asked_for() -> None:
    assert engine_for("gguf") == "llamacpp"


@pytest.mark.usefixtures("faulty")
def test_the_engine_that_is_asked_for_wins() -> None:
    assert engine_for("gguf", "steady") == "steady"
    assert engine_for("a format of its own", "steady") == "steady"


def test_an_engine_that_is_asked_for_and_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match="steady"):
        engine_for("gguf", "steady")


def test_a_format_that_nothing_runs_is_refused() -> None:
    with pytest.raises(UsageError, match="onnx"):
        engine_for("onnx")


FORMATS = {
    "llamacpp": ("gguf",),
    "openvino": ("gguf", "openvino"),
    "ortgenai": ("onnx-genai",),
    "transformers": ("safetensors", "gguf"),
}


@pytest.mark.parametrize("engine", FORMATS)
def test_an_engine_says_what_it_can_load_without_its_package(engine: str) -> None:
    program = f"""
import sys
from audition.engines.registry import find_engine, formats_of
print(*formats_of({engine!r}))
print(find_engine({engine!r}).load().requires)
packages = ("xllamacpp", "openvino", "onnxruntime_genai", "transformers", "torch", "numpy")
print([name for name in sys.modules if name.startswith(packages)])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    formats, requires, imported = answer.stdout.splitlines()
    assert tuple(formats.split()) == FORMATS[engine]
    assert requires
    assert imported == "[]"


@pytest.mark.parametrize(
    ("format_", "engine"),
    [("onnx-genai", "ortgenai"), ("openvino", "openvino"), ("safetensors", "transformers"), ("gguf", "llamacpp")],
)
def test_each_format_has_an_engine(format_: str, engine: str) -> None:
    assert engine_for(format_) == engine
    assert engine_for(format_, engine) == engine


def test_an_engine_that_does_not_run_the_format_is_refused_with_one_that_does() -> None:
    with pytest.raises(UsageError, match="llamacpp does not run the format onnx-genai; it runs gguf") as caught:
        engine_for("onnx-genai", "llamacpp")
    assert caught.value.fix in ("--engines foundry", "--engines ortgenai")


@pytest.mark.usefixtures("faulty")
def test_an_engine_of_others_is_given_any_format() -> None:
    assert engine_for("safetensors", "steady") == "steady"


@pytest.mark.parametrize("name", ["llamacpp", "steady"])
@pytest.mark.usefixtures("faulty")
def test_an_adapter_cannot_have_the_name_of_another_engine(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is another engine's name") as caught:
        engine_for("gguf", f"{name}=faulty_engines:Whole")
    assert caught.value.fix == f"give it a name of its own: my-{name}=faulty_engines:Whole"


@pytest.mark.usefixtures("faulty")
def test_an_adapter_may_be_called_what_it_is_registered_as() -> None:
    assert find_engine("steady=faulty_engines:Steady").value == "faulty_engines:Steady"


def test_the_name_of_a_server_brings_the_option_for_servers() -> None:
    with pytest.raises(UsageError, match='there is no engine "Ollama"') as caught:
        find_engine("Ollama")
    assert caught.value.fix == "ollama is a server: --endpoint ollama"


def test_an_unknown_name_brings_all_engines_beside_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_engine("lamacpp")
    fix = str(caught.value.fix)
    assert fix.startswith('did you mean "llamacpp"? known engines: ')
    assert set(engine_names()) <= set(fix.replace(";", ",").replace(":", ",").split(", "))


def test_an_entry_with_weights_and_an_engine_of_ours_is_told_that_it_has_no_source() -> None:
    with pytest.raises(
        UsageError, match=r'llamacpp needs a model to run, and its entry in models\.json has no "source"'
    ):
        engine_for("any", "llamacpp")
