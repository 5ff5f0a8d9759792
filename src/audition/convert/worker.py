"""The process that converts: `python -m audition.convert.worker`, told what to do by one line on its standard input.

torch, transformers and the builder of ONNX Runtime GenAI print much and hold gigabytes, so they get a process of their
own. It says which step it is at, one JSON line each, and everything else goes to the log (standard error). It never
uses the network. When its parent goes away, however it went, the input closes: then it removes its folder and ends.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO


def main() -> None:
    """Convert, and say how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    order = json.loads(requests.readline())
    work = Path(order["work"])
    threading.Thread(target=_end_with_the_parent, args=(requests, work), daemon=True).start()
    sys.addaudithook(_forbid_network)
    try:
        convert(order, work, lambda step: _say(replies, {"step": step}))
    except Exception as error:  # noqa: BLE001 - the tools raise anything, and the parent has to be told
        import traceback

        traceback.print_exc()
        _say(replies, {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    _say(replies, {"done": True})


def convert(order: dict[str, Any], work: Path, step: Any) -> None:
    """Make the ONNX folder.

    Args:
        order: `gguf` (the name of the file in `work/source`, or None for a Hugging Face folder there), `precision`.
        work: The folder for everything; the result is its `onnx`.
        step: Told what comes next.
    """
    source = work / "source"
    if order["gguf"] is not None:
        step("reading the weights")
        source = _unpack(source, order["gguf"], work / "unpacked")
    step("building the ONNX graph")
    _build(source, work, order["precision"])


def _unpack(folder: Path, name: str, target: Path) -> Path:
    """De-quantise a GGUF file to a Hugging Face folder of 32-bit numbers: the builder takes no quantised file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, local_files_only=True, dtype=torch.float32, trust_remote_code=False
    )
    # Its weights are plain numbers now; as long as it says otherwise it cannot be saved.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    del model
    gc.collect()
    shutil.rmtree(folder)
    return target


def _build(source: Path, work: Path, precision: str) -> None:
    import runpy

    arguments = ["-i", str(source), "-o", str(work / "onnx"), "-p", precision, "-e", "cpu", "-c", str(work / "cache")]
    sys.argv = ["builder", *arguments, "--extra_options", "hf_remote=false", "hf_token=false"]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")


def _forbid_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        raise PermissionError("a conversion does not use the network")


def _end_with_the_parent(requests: BinaryIO, work: Path) -> None:
    while requests.read(4096):
        pass
    for _ in range(2):  # the other thread may still write into it
        shutil.rmtree(work, ignore_errors=True)
    os._exit(1)


def _say(replies: BinaryIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    main()
