"""Foundry Local's own web service on loopback, with a catalog that this process serves to it: no network is needed.

Usage: `python foundry_service.py FOLDER [MODEL]`; FOLDER is for its data, MODEL an ONNX GenAI folder that it finds as
downloaded. Prints its address, and ends when its input does.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from foundry_local_sdk import Configuration, FoundryLocalManager

ALIAS, NAME, VERSION = "smollm2", "smollm2-instruct-generic-cpu", 4
ID = f"{NAME}:{VERSION}"
OTHER = "other-generic-cpu:1"


def entry(name: str, version: int, alias: str) -> dict[str, Any]:
    """An entry as the catalog has it (microsoft/Foundry-Local, sdk_v2/cpp/test/internal_api/azure_catalog_test.cc)."""
    metadata = {"modelType": "ONNX", "device": "cpu", "executionProvider": "CPUExecutionProvider"}
    return {
        "assetId": f"azureml://registries/azureml/models/{name}/versions/{version}",
        "entityId": f"{name}:{version}",
        "id": f"{name}:{version}",
        "name": name,
        "version": str(version),
        "publisher": "Test",
        "inferenceTasks": ["chat-completion"],
        "alias": alias,
        "annotations": {"tags": {"alias": alias, "foundryLocal": "", "task": "chat-completion"}},
        "properties": {"name": name, "version": version, "variantInfo": {"parents": [], "variantMetadata": metadata}},
        "variantInformation": {"parents": [], "variantMetadata": metadata},
    }


class Catalog(BaseHTTPRequestHandler):
    entries: tuple[dict[str, Any], ...] = ()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        data = json.dumps({"summaries": self.entries, "totalCount": len(self.entries)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def main(folder: Path, model: Path | None) -> None:
    catalog = "http://127.0.0.1:9"  # nobody listens there
    if model is not None:
        place = folder / "models" / "Test" / NAME / "v4"
        shutil.copytree(model, place)
        (place / "inference_model.json").write_text(json.dumps({"Name": ID}))
        Catalog.entries = (entry(NAME, VERSION, ALIAS), entry("other-generic-cpu", 1, "other"))
        server = ThreadingHTTPServer(("127.0.0.1", 0), Catalog)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        catalog = f"http://127.0.0.1:{server.server_port}"
    FoundryLocalManager.initialize(
        Configuration(
            app_name="audition-test",
            app_data_dir=str(folder / "data"),
            model_cache_dir=str(folder / "models"),
            logs_dir=str(folder / "logs"),
            disable_nonessential_telemetry=True,
            web=Configuration.WebService(urls="http://127.0.0.1:0"),
            catalog_urls=[(f"{catalog}/asset-gallery/v1.0/models", None)],
        )
    )
    manager = FoundryLocalManager.instance
    assert manager is not None
    manager.start_web_service()
    assert manager.urls
    print(manager.urls[0], flush=True)
    sys.stdin.read()
    manager.stop_web_service()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
