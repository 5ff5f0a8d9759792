"""Conversions: what is said when the tools are missing, fail or are killed. The tools are scripts here."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import ggufs
from audition.convert import importing, onnx
from audition.errors import AuditionError, UsageError
from audition.models.spec import Licence
from audition.store.store import Store
from folders import hf_folder, onnx_folder

NO_LICENCE = Licence.named(None, source="import")
HEAD = "import json, os, pathlib, shutil, sys, time\norder = json.loads(sys.stdin.readline())\n"
WORKS = HEAD + "print(json.dumps({'step': 'building'})); shutil.copytree('%s', order['work'] + '/onnx')\n"
DONE = "print(json.dumps({'done': True}))\n"


@pytest.fixture
def original(tmp_path):
    return importing.original_at(ggufs.write_gguf(tmp_path / "tiny.gguf"), NO_LICENCE)


@pytest.fixture
def convert(home, tmp_path, monkeypatch, original):
    """Convert with a script in the place of the tools."""
    monkeypatch.setattr(onnx, "need_tools", lambda: None)

    def convert(script, source=original, progress=lambda *_: None, **options):
        monkeypatch.setattr(onnx, "_COMMAND", (sys.executable, "-c", script))
        log = tmp_path / "convert.log"
        return importing.import_onnx(Store(), source, "int4", log=log, progress=progress, **options)

    return convert


@pytest.fixture
def works(tmp_path):
    return WORKS % onnx_folder(tmp_path / "result") + DONE


def left(store):
    return [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_the_result_is_another_variant_of_the_same_model(convert, works, original):
    told = []
    installed = convert(works, progress=lambda what, done, total: told.append(what))
    assert (installed.id, installed.format, installed.quantization) == ("tiny:int4", "onnx-genai", "INT4")
    assert installed.header.parameters == original.header.parameters, "the source knows"
    assert installed.licence.id == "mit", "as its header says"
    made_from = installed.provenance["converted_from"]
    assert (made_from["sha256"], made_from["quantization"]) == (original.digest, "Q4_0")
    assert installed.provenance["precision"] == "int4"
    assert "converting to ONNX int4: building" in told
    assert Store().leftovers() == []


def test_the_second_time_nothing_is_converted(convert, works):
    first = convert(works)
    assert convert("raise SystemExit(1)") == first


def test_another_source_of_the_same_name_is_refused(convert, works, tmp_path):
    convert(works)
    (tmp_path / "b").mkdir()
    other = ggufs.write_gguf(tmp_path / "b" / "tiny.gguf", metadata=ggufs.tiny_metadata(general__name="Other"))
    with pytest.raises(UsageError, match="another model called tiny:int4"):
        convert(works, importing.original_at(other, NO_LICENCE))
    assert convert(works, importing.original_at(other, NO_LICENCE), name="other:best").id == "other:best"


def test_a_folder_is_given_to_the_tools_without_what_is_not_the_models(convert, tmp_path, works):
    folder = hf_folder(tmp_path / "hf", **{"code.py": "boom()", "pytorch_model.bin": b"\x80"})
    script = works.replace(
        "print(json.dumps({'step': 'building'}))",
        "print(json.dumps({'step': ' '.join(sorted(os.listdir(order['work'] + '/source')))}))",
    )
    told = []
    convert(script, importing.original_at(folder, NO_LICENCE), lambda what, done, total: told.append(what))
    assert "converting to ONNX int4: config.json model.safetensors tokenizer.json tokenizer_config.json" in told


def test_onnx_is_not_converted_again(tmp_path):
    told = []
    with pytest.raises(UsageError, match="cannot be converted") as caught:
        importing.original_at(onnx_folder(tmp_path / "m"), NO_LICENCE, lambda what, done, total: told.append(what))
    assert caught.value.fix == "use it as it is"
    assert told == [], "it is refused before its files are read through"


def test_an_installed_onnx_model_is_not_converted_again(convert, works, original):
    with pytest.raises(UsageError, match="cannot be converted"):
        convert(works, replace(original, format="onnx-genai"))


@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [
        (errno.EROFS, "not_writable", "cannot write to .*: Read-only file system"),
        (errno.ENOSPC, "disk_full", "the disk filled up while writing to"),
    ],
)
def test_a_disk_that_takes_nothing_is_said(convert, works, monkeypatch, number, code, sentence):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(onnx, "_bring", refuse)
    with pytest.raises(AuditionError, match=sentence) as caught:
        convert(works)
    assert caught.value.code == code


def test_what_a_killed_conversion_left_is_cleared_by_the_next(home, convert, works, original, tmp_path):
    told = []
    program = f"""
import pathlib, sys
from audition.convert import importing, onnx
from audition.models.spec import Licence
from audition.store.store import Store
onnx.need_tools = lambda: None
onnx._COMMAND = (sys.executable, "-c", "import sys; sys.stdin.read()")
original = importing.original_at(pathlib.Path({str(original.path)!r}), Licence.named(None, source="import"))
importing.import_onnx(Store(), original, "int4", log=pathlib.Path({str(tmp_path / "killed.log")!r}),
                      progress=lambda *_: print("under way", flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"under way"
        assert Store().leftovers(), "it has begun"
        process.kill()
    assert Store().leftovers(), "it could clear nothing"
    convert(works, progress=lambda what, *_: told.append(what))
    assert any("building" in what for what in told), "it is converted from the start"
    assert Store().leftovers() == []


def test_two_who_convert_at_once_convert_once(convert, works, tmp_path):
    count = tmp_path / "count"
    script = (
        f"import pathlib; pathlib.Path({str(count)!r}).open('a').write('x'); import time; time.sleep(0.5)\n" + works
    )
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: convert(script), range(2))
    assert first == second
    assert count.read_text() == "x"


FAULTS = {
    "an error": ("print(json.dumps({'error': 'ValueError: no such architecture\\nx'})); sys.exit(1)", "no such arch"),
    "an exit": ("sys.exit(7)", "exit code 7"),
    "silence": ("", "exit code 0"),
    "nonsense": ("print('garbage'); print('[1]')", "exit code 0"),
    "a full disk": ("print(json.dumps({'error': 'OSError: No space left on device'})); sys.exit(1)", "disk filled up"),
    "no result": ("print(json.dumps({'done': True}))", "gave a model that cannot be used: there is no folder"),
    "half a result": ("os.mkdir(order['work'] + '/onnx')\n" + DONE, "no genai_config"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_tools_that_fail_are_told_in_one_sentence_and_leave_nothing(convert, name):
    script, said = FAULTS[name]
    with pytest.raises(AuditionError, match=said) as caught:
        convert(HEAD + script)
    assert "\n" not in caught.value.message
    assert caught.value.fix
    assert left(Store()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_tools_that_are_killed_may_have_lacked_memory(convert):
    with pytest.raises(AuditionError, match=r"killed while building \(signal 9\)") as caught:
        convert(HEAD + "print(json.dumps({'step': 'building'}), flush=True); os.kill(os.getpid(), 9)")
    assert "memory" in caught.value.message


def test_ctrl_c_ends_the_tools_and_leaves_nothing(convert, tmp_path):
    started = tmp_path / "pid"
    script = HEAD + f"pathlib.Path({str(started)!r}).write_text(str(os.getpid())); time.sleep(300)"

    def interrupt(what, done, total):
        if started.exists() and started.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(script, progress=interrupt)
    import psutil

    assert not psutil.pid_exists(int(started.read_text()))
    assert left(Store()) == []


def test_a_disk_that_is_too_full_is_told_before_anything_starts(convert, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(AuditionError) as caught:
        convert("raise SystemExit(1)")
    assert caught.value.code == "disk_full"


def test_what_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name in ("torch", "onnx_ir") else object())
    with pytest.raises(AuditionError) as caught:
        onnx.need_tools()
    assert caught.value.message == "a conversion needs torch, onnx-ir, which are not installed"
    assert caught.value.fix == "pip install 'audition[convert]'"
    assert caught.value.exit_code == 1


# The tools' own process.


def worker(script):
    code = f"import sys, time, socket\nfrom audition.convert import worker\n{script}\nworker.main()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def order(work):
    return f'{{"work": {str(work)!r}, "gguf": null, "precision": "int4"}}\n'.replace("'", '"')


def test_it_goes_with_its_parent_and_takes_its_folder_along(tmp_path):
    work = tmp_path / "work"
    (work / "unpacked").mkdir(parents=True)
    process = worker("worker.convert = lambda *_: time.sleep(300)")
    process.stdin.write(order(work))
    process.stdin.flush()
    time.sleep(0.2)
    assert work.exists()
    process.stdin.close()  # what a parent's death does, however it came
    assert process.wait(60) == 1
    assert not work.exists()


def test_it_does_not_use_the_network(tmp_path):
    process = worker("worker.convert = lambda *_: socket.create_connection(('127.0.0.1', 9))")
    process.stdin.write(order(tmp_path / "work"))
    process.stdin.flush()
    assert "does not use the network" in process.stdout.readline()
    assert process.wait(60) == 1


def test_what_it_prints_does_not_disturb_what_it_says(tmp_path):
    process = worker("worker.convert = lambda *_: print('noise')")
    process.stdin.write(order(tmp_path / "work"))
    process.stdin.flush()
    assert process.stdout.read() == '{"done": true}\n'
    assert process.wait(60) == 0
