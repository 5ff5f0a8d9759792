"""The facts about a model that its own files state, the same words for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from audition.errors import AuditionError
from audition.models.kv import BATCH, KvFacts, cache_bytes
from audition.models.shape import Shape
from audition.models.spec import Licence

__all__ = ["KvFacts", "ModelFileError", "ModelHeader"]

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class ModelFileError(AuditionError):
    """A model's files cannot be read, or are not what they have to be."""

    def __init__(self, message: str, *, fix: str | None = None, code: str = "bad_model_file") -> None:
        super().__init__(message, fix=fix, code=code)


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """The facts that a model's files state about it, whatever their format; None is what they do not tell.

    Attributes:
        version: Of the GGUF format, 2 or 3; None for other formats.
        architecture: Such as `llama`.
        name: Its publisher's, as one printable line of at most 200 characters.
        licence: An identifier, likewise; of a licence that is in no list, its name.
        parameters: The exact number of elements in all tensors.
        quantization: Such as `Q4_K_M`, `INT4` or `BF16`: what the file says it is, else what most bytes are.
        context_length: The longest context that the model was trained for.
        has_chat_template: Whether there is a template that is not empty, be it only a named one; None when only the
            beginning was read.
        chat_template_sha256: Of the default template's bytes; without a default, of the first named
            template's in the order of the names.
        kv: What decides the size of the key-value cache.
        bos_token_id: The token that begins a text.
        eos_token_id: The token that ends one.
        vocab_size: The stated one; without it, the number of tokens listed.
        tensor_bytes: The bytes of tensor data that the files claim, without padding; where that cannot be told, the
            bytes that can only be tensor data. None when only the beginning was read.
        data_offset: Where tensor data starts in a GGUF file; in the first part of a split one.
        token_bytes: Bytes of weights that are read for one token: all but an embedding table that is only looked up,
            and of a mixture of experts those that a token takes. None when the header does not tell.
        licence_link: Where the terms can be read.
        feed_forward_length: The numbers between the two halves of the widest layer, of all experts that a token takes.
    """

    version: int | None
    architecture: str | None
    name: str | None
    licence: str | None
    parameters: int | None
    quantization: str | None
    context_length: int | None
    has_chat_template: bool | None
    chat_template_sha256: str | None
    kv: KvFacts
    bos_token_id: int | None
    eos_token_id: int | None
    vocab_size: int | None
    tensor_bytes: int | None
    data_offset: int | None
    token_bytes: int | None = None
    licence_link: str | None = None
    feed_forward_length: int | None = None

    @property
    def stated_licence(self) -> Licence:
        """The licence that the files state, with its class; `unknown` where they do not."""
        source = "model card" if self.version is None else "gguf header"
        return replace(Licence.named(self.licence, source=source), link=self.licence_link)

    @property
    def shape(self) -> Shape:
        """What decides the memory that the model takes beside its weights."""
        return Shape(self.kv, self.architecture, self.feed_forward_length, self.vocab_size)

    @property
    def is_leading(self) -> bool:
        """Whether it is only what a file says before its tokenizer: nothing is known of its tensors."""
        return self.tensor_bytes is None

    def kv_cache_bytes(
        self, context: int, bytes_per_element: float | None = None, *, parallel: int = 1, batch: int | None = BATCH
    ) -> int | None:
        """Return an upper bound on the size of the key-value cache, or None when the header does not tell.

        It is the sum over the layers of `head_count_kv * (key_length + value_length) * tokens * bytes_per_element`.
        A layer with a sliding window holds the window and a batch, no more; one that uses another layer's cache holds
        nothing, and a recurrent one a state of a fixed size. What the header leaves open counts in full.

        Args:
            context: The number of tokens that the cache has to hold for each sequence.
            bytes_per_element: 2 for F16; 34 / 32 for Q8_0; None takes what the model decides, else 2.
            parallel: Sequences.
            batch: Tokens that a layer with a window keeps beyond it; None counts these layers in full.
        """
        return cache_bytes(self.kv, self.architecture, context, parallel=parallel, width=bytes_per_element, batch=batch)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values, for a manifest."""
        facts = asdict(self)
        facts["kv"] = {key: list(v) if isinstance(v, tuple) else v for key, v in facts["kv"].items()}
        return facts

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelHeader:
        """Return the header that `to_json` was called on.

        Raises:
            ModelFileError: A fact is missing or has the wrong type.
        """
        from pydantic import ValidationError

        try:
            return _adapter().validate_python(data)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise ModelFileError(
                f"the stored facts about a model file are damaged: {where}: {fault['msg']}",
                fix="read the model file again",
            ) from error


@cache
def _adapter() -> TypeAdapter[ModelHeader]:
    """Return what checks stored facts; making it takes longer than a hundred checks."""
    from pydantic import TypeAdapter

    return TypeAdapter(ModelHeader)
