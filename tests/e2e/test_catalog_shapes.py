"""The built-in catalog says of the small models what their real files do."""

from __future__ import annotations

from pathlib import Path

import pytest

from audition.models.catalog import load_catalog
from audition.models.gguf import read_gguf_header
from audition.store.store import Store

pytestmark = [pytest.mark.models]


@pytest.mark.parametrize("alias", ["smollm2-135m", "gemma-3-270m"])
def test_the_catalogs_shape_is_the_headers(downloaded: Path, alias: str) -> None:
    (installed,) = [each for each in Store(downloaded / "store").installed() if each.variant.model == alias]
    assert load_catalog()[alias].shape == read_gguf_header(installed.weights_path).shape
