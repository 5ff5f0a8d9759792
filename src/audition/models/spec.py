"""The words for models: `ModelSpec` (a catalog entry), `Variant` (one concrete artifact of it), `Licence`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from audition.models.shape import Shape
from audition.text import one_line

ANY = "any"
"""The format of a model whose weights, if there are any, only a person's own engine knows."""
OWN = "weights"
"""The scheme of its source: `weights:` and a path, which may be missing."""


class LicenceClass(StrEnum):
    """What a licence allows a product to do with a model. Unknown stays unknown: it is never guessed."""

    PERMISSIVE = "permissive"
    USE_RESTRICTED = "use-restricted"
    NON_COMMERCIAL = "non-commercial"
    UNKNOWN = "unknown"


# Identifiers as model cards and GGUF headers spell them, in lower case. Those of Hugging Face's own list whose terms
# are in none of these classes (copyleft, share-alike, no derivatives) are left out, and so is `other`.
_CLASSES = {
    LicenceClass.PERMISSIVE: (
        "apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear isc afl-3.0 bsl-1.0 ecl-2.0 ncsa postgresql "
        "cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cdla-permissive-1.0 cdla-permissive-2.0 etalab-2.0 odc-by "
        "pddl unlicense wtfpl zlib artistic-2.0"
    ),
    LicenceClass.USE_RESTRICTED: (
        "gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 openrail openrail++ bigscience-openrail-m "
        "bigscience-bloom-rail-1.0 bigcode-openrail-m creativeml-openrail-m deepseek qwen grok2-community"
    ),
    LicenceClass.NON_COMMERCIAL: (
        "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nc-nd-3.0 "
        "cc-by-nc-nd-4.0 fair-noncommercial-research-license apple-amlr intel-research deepfloyd-if-license "
        "qwen-research mrl"
    ),
}
_NO_IDENTIFIER = ("other", "unknown")
"""What a card says where the licence is in no list, or nobody knows it."""
_A_PERSONS = ("models.json", "import")
_LINK = re.compile(r"https?://[\x21-\x7e]{1,400}")
_CLASS_OF = {name: cls for cls, names in _CLASSES.items() for name in names.split()}


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms a model is under.

    Attributes:
        id: The identifier as its publisher gives it (`Apache-2.0`, `gemma`), or None when nobody says.
        cls: What kind of terms they are.
        source: Where this was read: `catalog`, `models.json`, `hub metadata`, `gguf header`, `model card`, or `import`.
        link: Where the terms can be read, an http(s) address, or None when nobody says.
        note: What another place says that does not agree with this, one sentence; None when all agree.
    """

    id: str | None
    cls: LicenceClass
    source: str
    link: str | None = None
    note: str | None = None

    @classmethod
    def named(cls, identifier: str | None, *, source: str) -> Licence:
        """Classify a licence by its identifier; one that is not in the table is `unknown`."""
        known = _CLASS_OF.get((identifier or "").strip().lower(), LicenceClass.UNKNOWN)
        return cls(identifier or None, known, source)

    @classmethod
    def stated(cls, identifier: str | None, *, name: str | None, link: str | None, source: str) -> Licence:
        """Classify a licence as a model card or a header states it: an identifier, or `other` with a name and a link.

        A link that is not http(s), such as the name of a file beside the card, is left out.
        """
        identifier, name = (one_line(text or "") for text in (identifier, name))
        if identifier.lower() in ("", *_NO_IDENTIFIER):
            identifier = name or ("other" if identifier.lower() == "other" else "")
        licence = cls.named(identifier, source=source)
        return replace(licence, link=link if link and _LINK.fullmatch(link) else None)

    def beside(self, other: Licence) -> Licence:
        """Return this licence in the light of what another place says: that one where this says nothing.

        Where both say something and do not agree, this one stands, with a note; a person's own `models.json` and what
        was said at an import stand without.
        """
        if self.id is None and self.cls is LicenceClass.UNKNOWN:
            return other if other.id is not None else self
        agrees = other.id is None or (self.id or "").casefold() == other.id.casefold()
        if agrees or self.source in _A_PERSONS:
            return replace(self, link=self.link or other.link) if agrees else self
        return replace(self, note=self.note or f"the {other.source} says {other}")

    def to_json(self) -> dict[str, str | None]:
        """Return it as plain JSON values, for a manifest."""
        facts = {"id": self.id, "class": str(self.cls), "source": self.source, "link": self.link, "note": self.note}
        return {key: value for key, value in facts.items() if value is not None or key == "id"}

    @classmethod
    def from_json(cls, data: Mapping[str, str | None]) -> Licence:
        """Return the licence that `to_json` was called on.

        Raises:
            KeyError: A part is missing.
            ValueError: The class is none.
        """
        return cls(
            data["id"], LicenceClass(str(data["class"])), str(data["source"]), data.get("link"), data.get("note")
        )

    def __str__(self) -> str:
        return f"{self.id} ({self.cls})" if self.id else str(self.cls)


@dataclass(frozen=True, slots=True)
class VariantFile:
    """One file of a variant.

    Attributes:
        name: The file's name inside the variant's folder; never a path.
        size: Bytes, or None when the source has not been asked yet.
        sha256: Hex digest of the whole file, or None when only the source knows it.
        parts: What the source joins to make it: for `pypi:` members, each `package==version!path/inside/the/wheel`;
            for `hf:` the one path inside the repository.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """One concrete artifact of a model: a format, a quantization, and where its files come from.

    `name` is what tells it from the model's other variants, where its quantization does not.
    """

    model: str
    format: str
    quantization: str | None
    source: str
    files: tuple[VariantFile, ...] = ()
    nominal_mb: float | None = None
    name: str | None = None

    @property
    def id(self) -> str:
        """The stable name `alias:quantization`, the latter in lower case."""
        return f"{self.model}:{(self.name or self.quantization or self.format).lower()}"

    @property
    def size(self) -> int | None:
        """Bytes of all files; from the file list, else what the catalog says in megabytes; None when unknown."""
        sizes = [file.size for file in self.files]
        if sizes and None not in sizes:
            return sum(size for size in sizes if size is not None)
        return int(self.nominal_mb * 1e6) if self.nominal_mb is not None else None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One catalog entry: what a person names on the command line.

    Attributes:
        alias: The name.
        origin: `built-in`, `models.json` (the person's own catalog) or the file that was named.
        instruct: False for a base model that was never taught to answer; None when nobody says.
        parameters: Number of weights.
        context_length: Tokens the model was trained for.
        engine: The engine a person asked for; None means the first one that can run the format.
        shape: What its header will say of its layers; None when nobody says before it is read.
    """

    alias: str
    licence: Licence
    variants: tuple[Variant, ...]
    origin: str
    description: str | None = None
    family: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    instruct: bool | None = None
    capabilities: tuple[str, ...] = ()
    engine: str | None = None
    shape: Shape | None = None

    def variant(self, quantization: str | None = None) -> Variant | None:
        """Return the variant with this quantization, or the first one when none is named."""
        if quantization is None:
            return self.variants[0]
        wanted = quantization.lower()
        return next((v for v in self.variants if v.id.partition(":")[2] == wanted), None)
