"""The folder doctor: what a model's folder lacks, or has that no engine can use, before anything loads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from audition.models.folder import (
    FILE_NAME,
    GGUF,
    ONNX,
    OPENVINO,
    SAFETENSORS,
    Folder,
    chat_template,
    format_of,
    graph_names,
    open_folder,
    read_object,
    section,
    weight_names,
)
from audition.models.folder_header import read_folder_header, read_header
from audition.models.git_lfs import IS_POINTER, PULL, is_pointer
from audition.models.header import ModelFileError
from audition.models.template import template_fault
from audition.text import one_line, printable

_UNFINISHED = re.compile(r"(\.tmp|\.part|\.partial|\.incomplete|\.crdownload|\.aria2)$", re.IGNORECASE)
_AGAIN = "fetch the whole folder again"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_READ_BY_ENGINES = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "tekken.json", "special_tokens_map.json"),
    *("added_tokens.json", "generation_config.json", "chat_template.json", "config.json"),
)
_MAX_TOKENIZER_BYTES = 128 * 2**20
"""The largest in use (262,144 tokens: Gemma 3) has 33 MB."""
_CODE_MAP = "auto_map"
_TAIL = 2**20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a model's files.

    Attributes:
        message: One sentence.
        fix: What to do about it.
        fatal: Whether no engine can load the model, or should; otherwise something will be missing.
    """

    message: str
    fix: str
    fatal: bool = True


def check_folder(path: Path, format_: str | None = None) -> list[Problem]:
    """Return what is wrong with a model's folder (or `.gguf` file), the worst first; nothing when all is well.

    Args:
        path: The folder.
        format_: What it has to be; None takes what it seems to be.
    """
    format_ = format_ or format_of(path)
    try:
        if format_ is None:
            return [_no_model(path)]
        if format_ == GGUF:
            read_header(path, format_)
            return []
        folder = open_folder(path, format_)
        checks = {ONNX: _check_onnx, SAFETENSORS: _check_safetensors, OPENVINO: _check_openvino}
        problems = [*_check_download(folder), *checks[format_](folder), *_check_rest(folder)]
        if not any(problem.fatal for problem in problems):
            read_folder_header(folder)
    except ModelFileError as error:
        return [Problem(error.message, error.fix or _AGAIN)]
    return sorted(problems, key=lambda problem: not problem.fatal)


def refuse_bad(path: Path, format_: str | None = None) -> list[Problem]:
    """Return what is wrong with a folder that can be used all the same.

    Raises:
        ModelFileError: It cannot be used; the sentence is about the first fault.
    """
    problems = check_folder(path, format_)
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        shown, message = printable(str(path)), fatal[0].message
        more = f" ({len(fatal) - 1} more: audition doctor '{shown}')" if len(fatal) > 1 else ""
        if shown not in message:
            message = f"{shown} cannot be used: {message}"
        raise ModelFileError(message + more, fix=fatal[0].fix)
    return problems


def _no_model(path: Path) -> Problem:
    shown = printable(str(path))
    if not path.exists():
        return Problem(f"there is nothing at {shown}", "check the path")
    if not path.is_dir():
        return Problem(f"{shown} is no model file", "name a .gguf file, or a model's folder")
    for sub in sorted(path.iterdir())[:100]:
        if sub.is_dir() and not sub.is_symlink() and format_of(sub) is not None:
            return Problem(f"the model is not in {shown} itself but in its folder {one_line(sub.name)}", f"name {sub}")
    return Problem(
        f"{shown} holds no model: no genai_config.json, no openvino_model.xml, no config.json with .safetensors",
        "name the folder that has these files",
    )


def _check_download(folder: Folder) -> list[Problem]:
    """Return what shows that the folder did not arrive whole."""
    problems = []
    for entry in sorted(folder.path.iterdir()):
        name = one_line(entry.name)
        if _UNFINISHED.search(entry.name):
            problems.append(Problem(f"{name} is left over from a download that did not end", _AGAIN))
        elif entry.is_file() and is_pointer(entry):
            problems.append(Problem(f"{name} {IS_POINTER}", PULL))
    return problems


def _check_rest(folder: Folder) -> list[Problem]:
    """Return what can be missing from a folder of any format, and what is left out of it."""
    problems = [
        Problem(f"{one_line(name)} {reason}; it is left out", "nothing, if the model works without it", fatal=False)
        for name, reason in folder.left_out.items()
    ]
    if not any(name in folder.files for name in _TOKENIZERS) and folder.format != OPENVINO:
        problems.append(Problem("it has no tokenizer (tokenizer.json or tokenizer.model)", _AGAIN))
    unreadable = [found for name in _READ_BY_ENGINES if name in folder.files for found in _check_json(folder, name)]
    problems += unreadable
    if unreadable:  # where a template would stand
        return problems
    template = chat_template(folder.path)
    if template is not None and (fault := template_fault(template.decode(errors="replace"))):
        problems.append(Problem(f"its chat template cannot be read: {fault}", "take the publisher's"))
    if template is None and not _has_openvino_template(folder):
        problems.append(
            Problem(
                "it has no chat template, so engines would guess how to ask it",
                "add the publisher's chat_template.jinja, unless it is a base model",
                fatal=False,
            )
        )
    return problems


def _check_json(folder: Folder, name: str) -> list[Problem]:
    """Return what is wrong with a file that engines read as JSON."""
    path = folder.path / name
    if is_pointer(path):  # which is said already
        return []
    try:
        read_object(path, _MAX_TOKENIZER_BYTES)
    except ModelFileError as error:
        return [Problem(error.message, error.fix or _AGAIN)]
    return []


def _check_onnx(folder: Folder) -> list[Problem]:
    path = folder.path
    if "genai_config.json" not in folder.files:
        return [
            Problem(
                "it has no genai_config.json, so it is an ONNX model that was not made for ONNX Runtime GenAI",
                "convert the original: audition model import HF_FOLDER --to onnx-genai",
            )
        ]
    problems = _check_graphs(folder)
    if "tokenizer_config.json" not in folder.files:
        problems.append(Problem("it has no tokenizer_config.json", _AGAIN))
    config = read_object(path / "genai_config.json")
    model, search = section(config, "model"), section(config, "search")
    context, longest = model.get("context_length"), search.get("max_length")
    for name, value in (("model.context_length", context), ("search.max_length", longest)):
        if value is not None and (type(value) is not int or value < 1):
            problems.append(Problem(f"its genai_config.json has a {name} that is no number of tokens", _AGAIN))
    if type(context) is int and type(longest) is int and longest > context > 0:
        problems.append(
            Problem(
                f"its genai_config.json allows {longest:,} tokens (search.max_length), and the model has room for "
                f"{context:,} (model.context_length)",
                f"set search.max_length to {context}",
                fatal=False,
            )
        )
    if not _names_tokens(model.get("eos_token_id")):
        problems.append(
            Problem(
                "its genai_config.json names no token that ends an answer (model.eos_token_id)",
                "add the id of the tokenizer's end token",
            )
        )
    if "inference_model.json" in folder.files and not _names_itself(path):
        problems.append(
            Problem(
                'its inference_model.json, which older versions of Foundry Local read, has no "Name"',
                'add "Name": "model-id:1", or remove the file',
                fatal=False,
            )
        )
    return problems


def _check_graphs(folder: Folder) -> list[Problem]:
    """Return what is wrong with the graphs that the configuration names, and with the weights beside them."""
    problems = []
    names = graph_names(folder.path)
    if not names:
        problems.append(Problem("its genai_config.json names no model file (model.decoder.filename)", _AGAIN))
    for name in names:
        shown = one_line(name, 80)
        if not FILE_NAME.fullmatch(name):
            problems.append(
                Problem(f'its genai_config.json names "{shown}", which is no file of this folder', "put all files flat")
            )
        elif not (folder.path / name).is_file():
            problems.append(Problem(f"{shown}, which its genai_config.json names, is missing", _AGAIN))
    for name, graph in folder.graphs.items():
        for location, needed in graph.external.items():
            shown = one_line(location, 80)
            weights = folder.path / location if FILE_NAME.fullmatch(location) else None
            if weights is None:
                problems.append(
                    Problem(f'{name} keeps weights in "{shown}", which is no file of this folder', "put all files flat")
                )
            elif not weights.is_file():
                problems.append(Problem(f"{shown}, which holds the weights of {name}, is missing", _AGAIN))
            elif weights.stat().st_size < needed and not is_pointer(weights):
                has = weights.stat().st_size
                problems.append(Problem(f"{shown} is truncated: {name} needs {needed:,} bytes, it has {has:,}", _AGAIN))
        if not graph.tensor_bytes:
            problems.append(Problem(f"{name} holds no weights", _AGAIN))
    return problems


def _check_safetensors(folder: Folder) -> list[Problem]:
    path = folder.path
    problems = []
    if "config.json" not in folder.files:
        is_adapter = "adapter_config.json" in folder.files
        message = "it is an adapter (LoRA), not a whole model" if is_adapter else "it has no config.json"
        fix = "merge it into its base model and save that" if is_adapter else _AGAIN
        problems.append(Problem(message, fix))
    wanted = weight_names(path, [name for name in folder.files if name.endswith(".safetensors")])
    if not wanted:
        pickled = [name for name, reason in folder.left_out.items() if "pickle" in reason]
        message = f"its weights are only there as a pickle ({pickled[0]}), which can run code" if pickled else ""
        problems.append(
            Problem(
                message or "it has no .safetensors file",
                "get the .safetensors files, or save the model again with save_pretrained" if pickled else _AGAIN,
            )
        )
    for name in wanted:
        if not FILE_NAME.fullmatch(name):
            problems.append(Problem(f'its index names "{one_line(name, 80)}", which is no file of this folder', _AGAIN))
        elif name not in folder.files:
            problems.append(Problem(f"{name}, which its index names, is missing", _AGAIN))
    config = read_object(path / "config.json")
    if config.get(_CODE_MAP):
        problems.append(
            Problem(
                "its config.json asks for program code of its own (auto_map), which is never run",
                "nothing, if the engine knows this architecture; otherwise take another model",
                fatal=False,
            )
        )
    return problems


def _check_openvino(folder: Folder) -> list[Problem]:
    problems = [
        Problem(f"{name} is missing", _AGAIN)
        for name in ("openvino_model.bin", "openvino_tokenizer.xml", "openvino_detokenizer.xml")
        if name not in folder.files
    ]
    if "config.json" not in folder.files:
        problems.append(
            Problem("it has no config.json, so its context and its memory are not known", _AGAIN, fatal=False)
        )
    return problems


def _has_openvino_template(folder: Folder) -> bool:
    """Return whether the tokenizer's graph brings a template: it stands in the notes at its end."""
    try:
        with (folder.path / "openvino_tokenizer.xml").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _TAIL))
            return re.search(rb'<chat_template value="[^"]', stream.read(_TAIL)) is not None
    except OSError:
        return False


def _names_tokens(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(type(token) is int and token >= 0 for token in values)


def _names_itself(path: Path) -> bool:
    try:
        name = read_object(path / "inference_model.json").get("Name")
    except ModelFileError:
        return False
    return isinstance(name, str) and bool(name.strip())
