"""Which files of a repository make a model that could run: one unit per quantization, or per folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from audition.errors import AuditionError, UsageError
from audition.models.catalog import alias_of_name
from audition.models.folder import FILE_NAME, GGUF, ONNX, OPENVINO, SAFETENSORS, is_paper, is_pickle, is_text
from audition.models.hub_name import HubName, is_path
from audition.models.spec import Variant, VariantFile
from audition.sizes import size
from audition.store.hub.quantizations import nearness, quantization_of
from audition.store.hub.repository import RepoFile, Repository
from audition.text import one_line

FORMATS = (GGUF, ONNX, OPENVINO, SAFETENSORS)
"""In this order a format is taken when none is named."""
_MAX_SHOWN = 30
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_MAX_PARTS = 1000
_EXTERNAL = re.compile(r"(\.data|_data|_data_\d+|\.data_\d+)$", re.IGNORECASE)
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")
_LEFT_OUT = {
    "mmproj": "is the part of a model that sees",
    "imatrix": "is an importance matrix, not a model",
    "adapter": "is an adapter, not a whole model",
    "lora": "is an adapter, not a whole model",
    "vocab": "is only a vocabulary",
}


@dataclass(frozen=True, slots=True)
class _Unit:
    """Files that make one model together."""

    name: str
    folder: str
    format: str
    quantization: str | None
    files: tuple[RepoFile, ...]


def variants_of(repository: Repository) -> tuple[Variant, ...]:
    """Return the models in a repository that engines could run, each with all of its files.

    A GGUF file is one, and so are the parts of a split one; a folder with `genai_config.json`, with
    `openvino_model.xml`, or with `config.json` and `.safetensors` is one. Projectors, importance matrices, adapters
    and bare vocabularies are left out, and so are pickles.

    Each is named, after the repository, by its quantization where that tells it from the others, else by its file or
    folder. A variant's files have their path inside the repository in `parts`.
    """
    return _sorted(repository)[0]


def left_out_of(repository: Repository) -> dict[str, str]:
    """Return what could be taken for a model in a repository, by path, and why it is none."""
    return _sorted(repository)[1]


def choose(repository: Repository, wanted: str | None, formats: Sequence[str] = FORMATS) -> Variant:
    """Return the variant that a name asks for, or the default one.

    The default is the first format of `formats` that is there, and of GGUF the quantization that comes first in
    `quantizations.ORDER`, which begins with `Q4_K_M`.

    Args:
        repository: Where it is.
        wanted: A quantization, a file's or folder's name or path, or a format, in any case; None is the default.
        formats: Which may be taken.

    Raises:
        UsageError: None or several fit; the fix lists what there is, with sizes.
        AuditionError: There is nothing in the repository that could run.
    """
    variants = [variant for variant in variants_of(repository) if variant.format in formats]
    if not variants:
        raise _nothing(repository, formats)
    found = [variant for variant in variants if means(variant, wanted)] if wanted else variants
    if wanted is None or all(variant.format == wanted.lower() for variant in found):
        chosen = default_of(found)
    else:
        chosen = found[0] if len(found) == 1 else None
    if chosen is None:
        raise _no_choice(repository, wanted, found or variants)
    return chosen


def default_of(variants: Sequence[Variant]) -> Variant | None:
    """Return the variant that is taken when none is named; None where there is none, or several are as good."""
    first = [v for v in variants if v.format == min((v.format for v in variants), key=FORMATS.index)]
    ranks = [nearness(variant.quantization) for variant in first]
    best = [variant for variant, rank in zip(first, ranks, strict=True) if rank == min(ranks)]
    return best[0] if len(best) == 1 else None


def listed(variants: Sequence[Variant]) -> str:
    """Return the names of variants with their sizes, for a sentence."""
    shown = ", ".join(f"{label(variant)} ({size(variant.size or 0)})" for variant in variants[:_MAX_SHOWN])
    more = len(variants) - _MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def label(variant: Variant) -> str:
    """Return what a variant is called after the colon of its name."""
    return variant.name or variant.quantization or variant.format


def _sorted(repository: Repository) -> tuple[tuple[Variant, ...], dict[str, str]]:
    left_out: dict[str, str] = {}
    units = [*_ggufs(repository.files, left_out), *_folders(repository.files, left_out)]
    names = _names(units)
    variants = []
    for unit, name in zip(units, names, strict=True):
        source = HubName(repository.name, name, repository.revision)
        files = tuple(VariantFile(file.name, file.size, file.sha256, (file.path,)) for file in unit.files)
        alias = alias_of_name(repository.name.rpartition("/")[2])
        variants.append(
            Variant(
                alias,
                unit.format,
                unit.quantization,
                str(source),
                files,
                name=None if name == unit.quantization else name,
            )
        )
    return tuple(sorted(variants, key=lambda v: (FORMATS.index(v.format), v.size or 0, label(v)))), left_out


def _ggufs(files: Sequence[RepoFile], left_out: dict[str, str]) -> list[_Unit]:
    units: list[_Unit] = []
    parts: defaultdict[tuple[str, str, int], dict[int, RepoFile]] = defaultdict(dict)
    for file in files:
        if not file.name.lower().endswith(".gguf"):
            continue
        stem = file.name[: -len(".gguf")]
        words = set(re.split(r"[-._]", stem.lower()))
        reason = next((why for word, why in _LEFT_OUT.items() if word in words), None)
        split = _SPLIT.fullmatch(stem)
        if reason is not None and "merged" not in words:
            left_out[file.path] = reason
        elif split is not None:
            parts[file.folder, split[1], int(split[3])][int(split[2])] = file
        else:
            units.append(_Unit(stem, file.folder, GGUF, _quantization(stem, file.folder), (file,)))
    for (folder, stem, total), numbered in parts.items():
        first = numbered[min(numbered)]
        if total > _MAX_PARTS or sorted(numbered) != list(range(1, total + 1)):
            left_out[first.path] = f"is a part of {total}, and only {len(numbered)} of them are there"
        elif not all(FILE_NAME.fullmatch(part.name) for part in numbered.values()):
            left_out[first.path] = "has a name that is not allowed in a folder"
        else:
            ordered = tuple(numbered[number] for number in range(1, total + 1))
            units.append(_Unit(stem, folder, GGUF, _quantization(stem, folder), ordered))
    return units


def _quantization(stem: str, folder: str) -> str | None:
    """Return the quantization that a file's name states, else the folder that it lies in."""
    return quantization_of(stem) or quantization_of(folder.rpartition("/")[2])


def _folders(files: Sequence[RepoFile], left_out: dict[str, str]) -> list[_Unit]:
    by_folder: defaultdict[str, dict[str, RepoFile]] = defaultdict(dict)
    for file in files:
        by_folder[file.folder][file.name] = file
    if "model_index.json" in by_folder[""]:
        left_out["model_index.json"] = "makes this a pipeline for pictures, not a language model"
        return []
    units = []
    for folder, inside in by_folder.items():
        format_ = _folder_format(inside)
        if format_ is None:
            left_out |= {file.path: why for file in inside.values() if (why := _why_not(file.name)) is not None}
            continue
        weights = _weights(inside, format_)
        if not weights:
            continue
        taken = [name for name in inside if name in weights or is_text(name) or is_paper(name)]
        allowed = tuple(inside[name] for name in sorted(taken) if FILE_NAME.fullmatch(name))
        units.append(_Unit(folder.rpartition("/")[2] or format_, folder, format_, None, allowed))
    return units


def _folder_format(inside: dict[str, RepoFile]) -> str | None:
    if "genai_config.json" in inside:
        return ONNX
    if "openvino_model.xml" in inside:
        return OPENVINO
    if "config.json" in inside and any(name.endswith(".safetensors") for name in inside):
        return SAFETENSORS
    return None


def _weights(inside: dict[str, RepoFile], format_: str) -> set[str]:
    """Return the files that hold the weights, and the graphs over them."""
    if format_ == ONNX:
        graphs = {name for name in inside if name.lower().endswith(".onnx")}
        return graphs | {name for name in inside if _EXTERNAL.search(name)} if graphs else set()
    if format_ == OPENVINO:
        graphs = {name for name in inside if name.endswith(".xml")}
        return graphs | {f"{name[:-4]}.bin" for name in graphs} & set(inside)
    tensors = [name for name in inside if name.endswith(".safetensors") and not name.startswith("adapter_")]
    if "model.safetensors" in tensors:
        return {"model.safetensors"}
    # Some publishers keep the same weights a second time, under names of their own.
    shards = {name for name in tensors if (match := _SHARD.fullmatch(name)) is not None and match[1] == "model"}
    return shards or set(tensors)


def _why_not(name: str) -> str | None:
    """Return why a file that holds weights is no model that could run; None for files that hold none."""
    if is_pickle(name):
        return "may be a pickle, which can run code"
    if name.lower().endswith(".onnx"):
        return "was not made for ONNX Runtime GenAI: there is no genai_config.json beside it"
    return "is an adapter, not a whole model" if name == "adapter_model.safetensors" else None


def _names(units: Sequence[_Unit]) -> list[str]:
    """Return a name for each unit: the shortest that no other one has."""
    paths = ["-".join(filter(None, (unit.folder.replace("/", "-"), unit.name))) for unit in units]
    options = [
        [unit.quantization, unit.name, path] if unit.format == GGUF else [unit.name, unit.folder.replace("/", "-")]
        for unit, path in zip(units, paths, strict=True)
    ]
    taken = Counter(option.lower() for own in options for option in {*own} if option)
    names = []
    for own in options:
        usable = [name for name in own if name and is_path(name)]
        unique = [name for name in usable if taken[name.lower()] == 1]
        names.append((unique or usable or ["model"])[0])
    return names


def means(variant: Variant, wanted: str) -> bool:
    """Return whether a name asks for this variant: by what it is called, its format, its file or its folder."""
    known = {label(variant), variant.quantization, variant.format}
    for path in (variant.files[0].parts or (variant.files[0].name,)) if variant.files else ():
        folder, _, name = path.rpartition("/")
        known |= {folder, folder.rpartition("/")[2], quantization_of(_bare(name))}
        known |= {path, name} if len(variant.files) == 1 else set()
    return _bare(wanted) in {_bare(name) for name in known if name}


def _bare(name: str) -> str:
    return name.casefold().removesuffix(".gguf")


def _no_choice(repository: Repository, wanted: str | None, candidates: Sequence[Variant]) -> UsageError:
    if wanted is None:
        what = f"{repository.name} has several models, and none is the obvious one"
    elif any(means(variant, wanted) for variant in candidates):
        what = f'"{one_line(wanted, 80)}" is the name of several models in {repository.name}'
    else:
        what = f'{repository.name} has no "{one_line(wanted, 80)}"'
    example = HubName(repository.name, label(candidates[0]), repository.revision)
    return UsageError(what, fix=f"name one, such as {example}; there are {listed(candidates)}", code="no_such_variant")


def _nothing(repository: Repository, formats: Sequence[str]) -> AuditionError:
    left_out = left_out_of(repository)
    wanted = " or ".join(formats)
    pickles = [path for path, why in left_out.items() if "pickle" in why]
    if pickles:
        return AuditionError(
            f"the weights of {repository.name} are only there as a pickle ({pickles[0]}), which can run code",
            fix=f"look for the same model as GGUF: audition model search {repository.name.rpartition('/')[2]}",
            code="bad_model_file",
        )
    path, why = next(iter(left_out.items()), (None, None))
    reason = f": {path} {why}" if path else ""
    return AuditionError(
        f"{repository.name} holds no model that could run here ({wanted}){reason}",
        fix=f"look for the same model as GGUF: audition model search {repository.name.rpartition('/')[2]}",
        code="no_such_variant",
    )
