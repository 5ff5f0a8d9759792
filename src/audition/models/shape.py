"""The numbers that decide how much memory a model takes beside its weights, whoever states them."""

from __future__ import annotations

from dataclasses import dataclass

from audition.models.kv import KvFacts


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's layers and vocabulary, as its header states them or the catalog does; None is what nobody says.

    Attributes:
        kv: What decides the size of the key-value cache.
        architecture: Such as `llama`; it decides what `kv` leaves open.
        feed_forward_length: The numbers between the two halves of the widest layer.
        vocab_size: Tokens.
    """

    kv: KvFacts
    architecture: str | None = None
    feed_forward_length: int | None = None
    vocab_size: int | None = None
