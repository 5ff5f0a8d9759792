"""The Foundry Local SDK, opened quietly; as a program, the child process that asks the public catalog.

The SDK is native code with one manager per process, and an unreachable catalog holds it up for seconds. So the catalog
is asked by a process of its own, `python -m audition.store.foundry.sdk`: one line of JSON with the request on
its standard input, lines of JSON on its standard output, and whatever the SDK logs on its standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

# The SDK, ONNX Runtime and ONNX Runtime GenAI each report to their maker. Of the SDK's own switches none stops its
# `ProcessInfo`; what it takes for a build server sends nothing, keeps no device id and writes nothing to the home
# folder.
_QUIET = {"CI": "true", "ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}

# With the address of a service elsewhere, the catalog reads its own last copy on the disk and connects to nothing.
_NOWHERE = "http://127.0.0.1:9"


def open_sdk(folder: Path, catalog: str | None = None) -> tuple[Any, Any]:
    """Import the SDK and open its manager; return both.

    Args:
        folder: Where it keeps what it keeps: registrations, downloads, the copy of the catalog, logs.
        catalog: The public catalog's address; None makes no connection at all, to anything.

    Raises:
        ImportError: The SDK is not installed.
    """
    os.environ.update(_QUIET)
    import foundry_local_sdk as sdk

    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = (
        {"catalog_urls": [(catalog, None)]} if catalog else {"web": sdk.Configuration.WebService(external_url=_NOWHERE)}
    )
    sdk.FoundryLocalManager.initialize(
        sdk.Configuration(
            "audition",
            app_data_dir=str(folder),
            model_cache_dir=str(folder / "models"),
            logs_dir=str(folder / "logs"),
            disable_nonessential_telemetry=True,
            **settings,
        )
    )
    return sdk, sdk.FoundryLocalManager.instance


def main() -> None:
    """Answer one request: `list`, or `download` with an `id`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        request = json.loads(line)
        _, manager = open_sdk(Path(request["folder"]), request["catalog"])
        if request["op"] == "list":
            found = [variant for model in manager.catalog.list_models() for variant in model.variants]
            models = [_facts(model.info) for model in found]
            # That the catalog could not be reached is only in the log, which is written late: closing waits for that.
            manager.close()
            say(models=models)
        else:
            model = manager.catalog.get_model_variant(request["id"])
            if model is None:
                say(error="the catalog does not list it", code="model_not_found")
            else:
                model.download(lambda percent: say(percent=percent))
                say(path=model.get_path())
    except Exception as error:  # noqa: BLE001 - whatever went wrong is the answer
        say(error=f"{type(error).__name__}: {error}", code="source_unavailable")
    os._exit(0)


def _end_with_the_parent() -> None:
    """The parent keeps the pipe open for as long as it wants an answer."""
    sys.stdin.read()
    os._exit(1)


def _facts(info: Any) -> dict[str, Any]:
    runtime = info.runtime
    return {
        "name": info.name,
        "version": info.version,
        "alias": info.alias,
        "title": info.display_name,
        "publisher": info.publisher,
        "licence": info.license,
        "task": info.task,
        "device": str(runtime.device_type) if runtime and runtime.device_type else None,
        "execution_provider": runtime.execution_provider if runtime else None,
        "size_mib": info.file_size_mb,
        "context_length": info.context_length,
        "capabilities": info.capabilities,
        "quantization": info.get_string_property("quantization"),
    }


if __name__ == "__main__":
    main()
