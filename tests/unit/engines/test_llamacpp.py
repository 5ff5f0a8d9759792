"""What llama.cpp says of where it runs, with the devices that a build may see."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from audition.engines.llamacpp import LlamaCpp


@pytest.mark.parametrize(("names", "device"), [(["CPU"], "cpu"), (["CUDA0", "CPU"], None)])
def test_the_device_is_told_only_where_there_is_no_choice(
    names: list[str], device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(get_device_info=lambda: [{"name": name} for name in names])
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    assert LlamaCpp().device == device
