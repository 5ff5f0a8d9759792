"""Models that are a folder of files: which of its files belong to the model.

A folder comes from the network or from an archive, so its files are an allow-list. Pickles and programs can run code:
they are left out, and so is whatever no engine reads. A link that leads out of the folder is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.models.git_lfs import is_pointer
from audition.models.header import ModelFileError
from audition.models.onnx_graph import Graph, read_graph
from audition.text import one_line, printable

GGUF, ONNX, SAFETENSORS, OPENVINO = "gguf", "onnx-genai", "safetensors", "openvino"

MAX_JSON_BYTES = 16 * 2**20
_MAX_ENTRIES = 1000
_MAX_TEMPLATE_BYTES = 2**20
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")

_TEXTS = (".json", ".jinja", ".txt", ".model")  # `.model` is a SentencePiece tokenizer
_PAPERS = {"readme.md", "license", "license.md", "notice"}  # what a model's terms are stands in these
_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin")
_PROGRAMS = (".py", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".cmd", ".ps1")


@dataclass(frozen=True, slots=True)
class Folder:
    """A model's folder, after a look at its files.

    Attributes:
        path: The folder.
        format: `onnx-genai`, `safetensors` or `openvino`.
        files: The files that belong to the model, by name, sorted.
        left_out: Other entries that could be taken for the model's, and why they are not.
        graphs: Of an ONNX folder: the graphs that its configuration names and that are here.
    """

    path: Path
    format: str
    files: tuple[str, ...]
    left_out: dict[str, str]
    graphs: dict[str, Graph]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum((self.path / name).stat().st_size for name in self.files)


def format_of(path: Path) -> str | None:
    """Return the format that a path seems to have: by its ending, or by what lies in the folder; None for neither."""
    try:
        if not path.is_dir():
            return GGUF if path.suffix.lower() == ".gguf" else None
        names = {entry.name for entry in _entries(path)}
    except (OSError, ValueError):
        return None
    if "genai_config.json" in names or any(name.endswith(".onnx") for name in names):
        return ONNX
    if "openvino_model.xml" in names:
        return OPENVINO
    if "config.json" in names or any(name.endswith(".safetensors") for name in names):
        return SAFETENSORS
    return None


def open_folder(path: Path, format_: str) -> Folder:
    """Look at a model's folder.

    Raises:
        ModelFileError: It cannot be read, has a link that leads out of it, or has far too many entries.
    """
    shown = printable(str(path))
    try:
        entries = _entries(path)
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no folder {shown}", fix="check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelFileError(f"cannot read the folder {shown}: {reason}", fix="check the path") from error
    plain, left_out = _regular(path, entries)
    graphs: dict[str, Graph] = {}
    if format_ == ONNX:
        named = [name for name in graph_names(path) if name in plain and not is_pointer(path / name)]
        graphs = {name: read_graph(path / name) for name in named}
    weights = _weights(path, format_, plain, graphs)
    files = []
    for name in sorted(plain):
        if name in weights or is_text(name) or is_paper(name):
            files.append(name)
        elif is_pickle(name):
            left_out[name] = "may be a pickle, which can run code"
        elif name.lower().endswith(_PROGRAMS):
            left_out[name] = "is a program"
    return Folder(path, format_, tuple(files), left_out, graphs)


def is_text(name: str) -> bool:
    """Return whether a file of this name is a configuration, a template or a tokenizer."""
    return name.lower().endswith(_TEXTS)


def is_paper(name: str) -> bool:
    """Return whether a file of this name says what a model's terms are."""
    return name.lower() in _PAPERS


def is_pickle(name: str) -> bool:
    """Return whether a file of this name may be a pickle."""
    return name.lower().endswith(_PICKLES)


def _regular(path: Path, entries: list[os.DirEntry[str]]) -> tuple[list[str], dict[str, str]]:
    """Return the names of a folder's plain files, and the entries that are none, with the reason."""
    root = _root(path)
    plain: list[str] = []
    left_out: dict[str, str] = {}
    for entry in entries:
        name = entry.name
        if entry.is_symlink() and not _is_inside(path / name, root):
            raise ModelFileError(
                f"{one_line(name)} in {printable(str(path))} is a link that leads out of the folder",
                fix="put the file itself there, or remove the link",
            )
        if entry.is_dir():
            continue
        if not entry.is_file():
            left_out[name] = "is no regular file"
        elif not FILE_NAME.fullmatch(name):
            left_out[name] = "has a name that is not allowed: letters, digits, dots, dashes and underscores are"
        else:
            plain.append(name)
    twice = [name for name, count in Counter(name.casefold() for name in plain).items() if count > 1]
    if twice:
        raise ModelFileError(f"{printable(str(path))} has two files that some disks cannot tell apart: {twice[0]}")
    return plain, left_out


def _weights(path: Path, format_: str, plain: list[str], graphs: dict[str, Graph]) -> set[str]:
    """Return the files that hold the weights and the graphs over them."""
    if format_ == ONNX:
        return set(graphs) | {file for graph in graphs.values() for file in graph.external if file in plain}
    if format_ == SAFETENSORS:
        return set(weight_names(path, plain)) & set(plain)
    graphs_xml = [name for name in plain if name.endswith(".xml")]
    return {name for xml in graphs_xml for name in (xml, f"{xml[:-4]}.bin") if name in plain}


def read_object(path: Path, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in a configuration file; an empty one when there is no such file.

    Args:
        path: The file.
        limit: The most bytes that it may have.

    Raises:
        ModelFileError: It is too large, or not a JSON object.
    """
    name = printable(path.name)
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelFileError(f"cannot read {name}: {error.strerror or error}") from error
    if len(content) > limit:
        raise ModelFileError(f"{name} is larger than {limit // 2**20} MB", fix="download it again")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} is not valid JSON", fix="download it again") from error
    if not isinstance(data, dict):
        raise ModelFileError(f"{name} is no JSON object", fix="download it again")
    return data


def section(data: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the object at a key; an empty one when there is none."""
    inner = data.get(key)
    return inner if isinstance(inner, dict) else {}


def graph_names(path: Path) -> list[str]:
    """Return the `.onnx` files that a folder's `genai_config.json` names, as it names them."""
    names: list[str] = []
    for part in section(read_object(path / "genai_config.json"), "model").values():
        stages = part.get("pipeline") if isinstance(part, dict) else None
        for holder in [part, *(stages if isinstance(stages, list) else [])]:
            inner = list(holder.values()) if isinstance(holder, dict) else []
            found = [holder] if isinstance(holder, dict) else []
            found += [value for value in inner if isinstance(value, dict)]
            names += [one["filename"] for one in found if isinstance(one.get("filename"), str)]
    return list(dict.fromkeys(names))


def weight_names(path: Path, names: list[str]) -> list[str]:
    """Return the `.safetensors` files that make up the model: those in its index, else the usual one."""
    index = read_object(path / "model.safetensors.index.json").get("weight_map")
    if isinstance(index, dict):
        return sorted({name for name in index.values() if isinstance(name, str)})
    usual = "model.safetensors"
    return [usual] if usual in names else [name for name in names if name.endswith(".safetensors")]


def chat_template(path: Path) -> bytes | None:
    """Return the chat template that a folder's files hold: the default one, else the first by name."""
    try:
        with (path / "chat_template.jinja").open("rb") as stream:
            content = stream.read(_MAX_TEMPLATE_BYTES + 1)
        if content.strip():
            return _bounded(content)
    except OSError:
        pass
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = read_object(path / name).get("chat_template")
        if isinstance(template, list):
            named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
            first = next(iter(sorted((str(key), value) for key, value in named.items())), ("", None))[1]
            template = named.get("default", first)
        if isinstance(template, str) and template.strip():
            return _bounded(template.encode(errors="replace"))
    return None


def _entries(path: Path) -> list[os.DirEntry[str]]:
    entries = []
    with os.scandir(path) as scan:
        for entry in scan:
            if entry.name.startswith("."):
                continue
            entries.append(entry)
            if len(entries) > _MAX_ENTRIES:
                raise ModelFileError(
                    f"{printable(str(path))} has over {_MAX_ENTRIES:,} entries: it is no model's folder"
                )
    return sorted(entries, key=lambda entry: entry.name)


def _root(path: Path) -> Path:
    """Return what links may lead to: the folder, or the repository that a Hugging Face cache keeps it in."""
    real = Path(os.path.realpath(path))
    return real.parent.parent if real.parent.name == "snapshots" else real


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _bounded(template: bytes) -> bytes:
    if len(template) > _MAX_TEMPLATE_BYTES:
        raise ModelFileError(f"the chat template has more than {_MAX_TEMPLATE_BYTES // 2**20} MB")
    return template
