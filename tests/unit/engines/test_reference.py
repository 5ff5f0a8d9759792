"""Engines that are named by the place of their class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from audition.engines.reference import Reference, engine_name, located, reference_to
from audition.engines.registry import engine_for, find_engine, formats_of, probe_log
from audition.errors import UsageError
from audition.paths import home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llamacpp", None),
        ("my-engine.2", None),
        ("a:B", Reference("a:B", "a:B")),
        ("a.b_c:D.E", Reference("a.b_c:D.E", "a.b_c:D.E")),
        ("mine=a:B", Reference("mine", "a:B")),
        ("a:B@/x y/z", Reference("a:B", "a:B", "/x y/z")),
        ("mine=a:B@C:\\w@x=y", Reference("mine", "a:B", "C:\\w@x=y")),
    ],
)
def test_references_are_read_and_written(text: str, expected: Reference | None) -> None:
    reference = Reference.parse(text)
    assert reference == expected
    assert expected is None or str(reference) == text


@pytest.mark.parametrize(
    "text", ["a:", ":B", "a b:C", "a:B:C", "=a:B", "a=b", "../a:B", "a:B()", "a:B@", "a/b:C", "1a:B", "x" * 9000 + ":B"]
)
def test_what_is_neither_a_name_nor_a_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no engine"):
        Reference.parse(text)


def test_names() -> None:
    assert [engine_name(text) for text in ("llamacpp", "a:B", "mine=a:B@/x")] == ["llamacpp", "a:B", "mine"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "an_engine.py").write_text("raise RuntimeError('it was imported')\n")
    (folder / "a_package").mkdir()
    (folder / "a_package" / "__init__.py").write_text("raise RuntimeError('it was imported')\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("value", ["an_engine:Engine", "a_package.engine:Engine"])
def test_a_module_is_found_and_not_imported(module: Path, value: str) -> None:
    assert located(value) == f"{value}@{module}"
    assert located(f"x={value}") == f"x={value}@{module}"
    assert reference_to(value, "x") == f"x={value}@{module}"
    assert find_engine(located(value)).value == value
    assert engine_for("gguf", located(value)) == located(value)
    assert not {"an_engine", "a_package"} & set(sys.modules)


def test_a_module_elsewhere_on_the_path_is_found(module: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no module an_engine"):
        located("an_engine:Engine")
    monkeypatch.syspath_prepend(str(module))
    assert located("an_engine:Engine") == f"an_engine:Engine@{module}"


def test_a_module_that_is_not_there_brings_the_nearest(module: Path) -> None:
    with pytest.raises(UsageError) as caught:
        located("an_engin:Engine")
    assert caught.value.fix == 'did you mean "an_engine"?'


def test_a_name_and_a_place_that_is_known_stay_as_they_are() -> None:
    assert located("llamacpp") == "llamacpp" == reference_to("llamacpp") == reference_to("llamacpp", "llamacpp")
    assert located("a:B@/somewhere") == "a:B@/somewhere"


class Local:
    """A class at the top of a module."""


def test_a_class_is_named_by_its_place() -> None:
    assert reference_to(Local, "mine") == f"mine=test_reference:Local@{Path(__file__).parent}"


def test_classes_that_no_other_process_could_import_are_refused() -> None:
    class Inner:
        pass

    with pytest.raises(UsageError, match="was defined inside a function"):
        reference_to(Inner)
    main = type("Main", (), {"__module__": "__main__"})
    with pytest.raises(UsageError, match="the program or notebook that runs") as caught:
        reference_to(main)
    assert caught.value.fix == "put the class into a file of its own, say my_engine.py, and name it my_engine:Main"


def test_what_is_no_class_and_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="not by Local"):
        reference_to(Local())
    with pytest.raises(UsageError, match="llamacpp is called llamacpp already"):
        reference_to("llamacpp", "mine")


@pytest.mark.usefixtures("faulty")
def test_what_an_adapter_can_load_is_asked_in_a_process_of_its_own() -> None:
    for name in [name for name in sys.modules if name == "faulty_engines"]:
        del sys.modules[name]
    assert formats_of("tokens") == ("gguf", "onnx-genai")
    assert formats_of("steady") is None
    assert "faulty_engines" not in sys.modules


def test_the_log_of_a_question_has_a_name_that_every_disk_takes() -> None:
    assert probe_log("a.b:C@/x/y") == home() / "logs" / "probe-a.b-C.log"


def test_the_name_of_a_file_in_the_place_of_a_module_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lone_adapter.py").write_text("class Mine: pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"lone_adapter\.py is no module: lone_adapter is a file") as caught:
        located("mine=lone_adapter.py:Mine")
    assert caught.value.fix == "write mine=lone_adapter:Mine"
