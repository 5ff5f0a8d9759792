"""What the author of an engine tests: that it is one, on the model that it is for."""

from __future__ import annotations

from audition import api
from audition.testing import assert_conforms


def test_my_engine_is_an_engine() -> None:
    """The kit finds no fault."""
    weights = api.install(*api.find_model("smollm2-135m")).weights_path
    assert_conforms("my_engine:MyEngine", weights)
