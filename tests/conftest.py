"""What every test gets: a data folder of its own; on request, the real models and engines that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import faulty_engines

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = ("smollm2-135m", "gemma-3-270m")

# A shell that starts the tests in the background has them ignore Ctrl-C, and processes that they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that belongs to this test alone."""
    folder = tmp_path / "home"
    monkeypatch.setenv("AUDITION_HOME", str(folder))
    for name in ("BENCH_MODELS", "BENCH_ROUNDS", "BENCH_PROMPT", "PROMPT", "BENCH_MAX_TOKENS", "BENCH_TEMPERATURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AUDITION_DEBUG", raising=False)
    # Nothing here may ask a public catalog, or tell it who is asking.
    monkeypatch.setenv("AUDITION_FOUNDRY_CATALOG", "http://127.0.0.1:9/asset-gallery/v1.0/models")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))
    for name in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "HF_OIDC_RESOURCE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    ):
        monkeypatch.delenv(name, raising=False)
    # llama.cpp's threads spin while they wait; where the test machine's cores are shared, that is forty times slower.
    # A shorter spin is as fast on an idle machine, and four times faster than the default on a shared one.
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    return folder


@pytest.fixture(scope="session")
def downloaded() -> Path:
    """A data folder with both small models in it, downloaded by the program itself and kept between sessions."""
    folder = Path(os.environ.get("AUDITION_TEST_HOME") or REPOSITORY / ".test-home")
    environment = {**os.environ, "AUDITION_HOME": str(folder)}
    subprocess.run(
        [sys.executable, "-m", "audition", "model", "download", *MODELS], env=environment, check=True, timeout=900
    )
    return folder


@pytest.fixture(scope="session")
def onnx_model(downloaded: Path) -> Path:
    """SmolLM2 as a folder for ONNX Runtime GenAI, converted by the program itself and kept between sessions.

    Its home is `downloaded`'s; tests that ask for it are marked `torch`, which converting needs.
    """
    from audition.convert import onnx
    from audition.errors import AuditionError
    from audition.store.known import known_models
    from audition.store.store import Store

    store = Store(downloaded / "store")
    if "int4" not in {variant.name for variant in known_models(store)["smollm2-135m"].variants}:
        try:
            onnx.need_tools()
        except AuditionError as error:
            pytest.skip(f"{error.message}: {error.fix}")
        environment = {**os.environ, "AUDITION_HOME": str(downloaded)}
        command = [sys.executable, "-m", "audition", "model", "import", "smollm2-135m", "--to", "onnx-genai"]
        subprocess.run(command, env=environment, check=True, timeout=900)
    installed = store.find(known_models(store).resolve("smollm2-135m:int4"))
    assert installed is not None
    return installed.weights_path


@pytest.fixture
def real_models(downloaded: Path, home: Path) -> Path:
    """The test's own data folder, with the downloaded models in its store."""
    home.mkdir(parents=True)
    (home / "store").symlink_to(downloaded / "store", target_is_directory=True)
    return home


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registers the engines of `faulty_engines`, here and in engine processes."""
    from audition.engines import environment

    site = tmp_path / "site"
    faulty_engines.install(site)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(environment, "ALLOWED", environment.ALLOWED | {"PYTHONPATH"})
    yield
