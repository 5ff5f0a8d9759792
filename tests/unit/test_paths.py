"""Where the program keeps things."""

import os
import tempfile
from pathlib import Path

import platformdirs
import pytest

from audition.errors import UsageError
from audition.paths import _temporary_logs, expanded, home, logs_dir, runs_dir, store_dir, user_models_file


def test_the_environment_names_the_folder_and_everything_lies_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path / "my data"))
    assert home() == tmp_path / "my data"
    assert store_dir() == tmp_path / "my data" / "store"
    assert runs_dir() == tmp_path / "my data" / "runs"
    assert user_models_file() == tmp_path / "my data" / "models.json"


def test_asking_for_a_folder_does_not_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path / "new"))
    store_dir()
    assert not (tmp_path / "new").exists()


def test_a_relative_folder_does_not_move_with_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDITION_HOME", "data")
    assert home() == tmp_path / "data"


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("AUDITION_HOME", "~/audition")
    assert home() == Path.home() / "audition"


@pytest.mark.skipif(os.name != "posix", reason="Windows guesses the folders of other users")
def test_the_home_folder_of_nobody_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setenv("AUDITION_HOME", "~nobody-has-this-name/audition")
    with pytest.raises(UsageError, match="~nobody-has-this-name/audition") as caught:
        home()
    assert caught.value.fix


def test_a_tilde_inside_a_path_is_only_a_character():
    assert expanded("a/~b.gguf") == Path("a/~b.gguf")


@pytest.mark.parametrize("value", [None, ""])
def test_otherwise_it_is_the_platforms_data_folder_and_not_its_cache(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("AUDITION_HOME", raising=False)
    else:
        monkeypatch.setenv("AUDITION_HOME", value)
    assert home() == platformdirs.user_data_path("audition", appauthor=False)
    assert home() != platformdirs.user_cache_path("audition", appauthor=False)


def test_logs_lie_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path / "new"))
    assert logs_dir() == tmp_path / "new" / "logs"
    assert list(logs_dir().iterdir()) == []


def test_a_data_folder_that_cannot_be_written_does_not_keep_engines_from_printing(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "logs").write_text("in the way")
    _temporary_logs.cache_clear()
    found = logs_dir()
    assert found.is_dir()
    assert found.parent == tmp_path
    assert logs_dir() == found, "one for the process"
    _temporary_logs.cache_clear()
