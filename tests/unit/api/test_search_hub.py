"""Models on a hub, over real HTTP: what is found, what fits, and that nothing is downloaded."""

from __future__ import annotations

import errno
import json

import pytest

import ggufs
from audition.api.discover import Filters
from audition.api.downloads import plan_downloads
from audition.api.facts import model_facts
from audition.api.hub_models import search_hub
from audition.api.this_machine import ThisMachine
from audition.models.fit import _LEAST_MARGIN, Memory
from audition.store.manifests import Manifests
from audition.store.store import Store
from file_server import Fault
from hub_server import Repo, answer, serving, use

GB = 10**9
LARGE = {"llama__block_count": 4000, "llama__context_length": 100_000}
"""A tiny file with a KV cache of a gigabyte at 4,096 tokens."""


def machine(total=16 * GB, available=12 * GB, context=None):
    it = ThisMachine(context)
    it.memory = Memory(total, available, None, None)
    return it


@pytest.fixture
def gguf(tmp_path):
    def write(**metadata):
        return ggufs.write_gguf(tmp_path / "x.gguf", metadata=ggufs.tiny_metadata(**metadata)).read_bytes()

    return write


@pytest.fixture
def hub(home, monkeypatch, tmp_path, gguf):
    small, large = gguf(general__name="S"), gguf(general__name="L", **LARGE)
    with serving(
        Repo("one/Small-GGUF", {"s-Q4_K_M.gguf": small, "s-Q8_0.gguf": small + b"\0" * 64}, {"license": "mit"},
             tags=["gguf", "conversational"], downloads=50),
        Repo("two/Large-GGUF", {"l-Q4_K_M.gguf": large + b"\0" * 2**20, "l-Q2_K.gguf": large},
             {"license": "cc-by-nc-4.0"},
             downloads=500),
    ) as server:  # fmt: skip
        use(server, monkeypatch, tmp_path)
        yield server


def names(found):
    return [row.row.name for row in found.rows]


def test_what_is_found_has_the_name_to_type_and_fits_or_not(hub):
    found = search_hub("gguf", machine=machine())
    assert names(found) == ["hf:two/Large-GGUF:Q4_K_M", "hf:one/Small-GGUF:Q4_K_M"], "the most downloaded first"
    large, small = found.rows
    assert (small.row.fit, small.variants, small.row.capabilities) == ("yes", 2, ("chat",))
    assert (small.row.licence, small.row.licence_class, small.row.licence_from) == ("mit", "permissive", "hub metadata")
    assert large.row.memory["kv_cache"] > GB, "its header was read"
    assert large.row.memory_context == 4096
    assert found.unread == ()
    json.dumps(found.to_json())


def test_nothing_is_downloaded_and_headers_are_read_in_part(hub, gguf):
    whole = gguf() + b"\0" * 3_000_000
    hub.repos["one/Small-GGUF"].files["s-Q4_K_M.gguf"] = whole
    (row,) = search_hub("small", machine=machine()).rows
    assert row.problem is None
    assert hub.cdn.sent < 1_000_000
    assert Store().installed() == []


def test_more_context_takes_more_memory(hub):
    totals = [
        search_hub("large", machine=machine(context=context)).rows[0].row.memory_total for context in (512, 50_000)
    ]
    assert totals[0] < totals[1]


def between(name):
    """Return a machine into which the smaller one of a repository's two models fits, and the larger one does not."""
    needs = {row.memory_total for row in model_facts(name, machine()).variants}
    assert len(needs) == 2
    size = sum(needs) // 2 + _LEAST_MARGIN
    return machine(size, size)


def test_where_the_default_does_not_fit_one_that_does_is_named(hub):
    it = between("hf:two/Large-GGUF")
    (row,) = search_hub("large", machine=it).rows
    assert (row.row.name, row.row.fit) == ("hf:two/Large-GGUF:Q2_K", "yes")
    facts = model_facts("hf:two/Large-GGUF", it)
    assert (facts.row.name, facts.row.fit) == ("hf:two/Large-GGUF:Q4_K_M", "no")
    assert facts.smaller == ("hf:two/Large-GGUF:Q2_K",)


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (Filters(licences=("permissive",)), ["hf:one/Small-GGUF:Q4_K_M"]),
        (Filters(licences=("cc-by-nc-4.0",)), ["hf:two/Large-GGUF:Q4_K_M"]),
        (Filters(capabilities=("chat",)), ["hf:one/Small-GGUF:Q4_K_M"]),
        (Filters(formats=("safetensors",)), []),
    ],
)
def test_the_filters_of_the_list_hold_here_too(hub, filters, left):
    assert names(search_hub("gguf", filters, machine=machine())) == left


def test_what_is_left_out_is_counted(hub):
    found = search_hub("gguf", Filters(fits="yes"), machine=machine(4 * GB, GB))
    assert names(found) == ["hf:one/Small-GGUF:Q4_K_M"]
    assert (found.filtered_out, found.unknown) == (1, 0)


@pytest.mark.parametrize("fault", [Fault(cut=10), Fault(status=403), Fault(body=b"<html>", status=200)])
def test_a_header_that_cannot_be_read_is_said_and_the_rest_is_shown(hub, fault):
    commit = hub.repos["one/Small-GGUF"].commit()
    hub.cdn.fail_always(f"/one/Small-GGUF/{commit}/s-Q4_K_M.gguf", fault)
    found = search_hub("gguf", machine=machine())
    problems = {row.repository.name: row.problem for row in found.rows}
    assert problems["two/Large-GGUF"] is None
    assert problems["one/Small-GGUF"]
    small = next(row.row for row in found.rows if row.repository.name == "one/Small-GGUF")
    assert small.fit == "unknown"
    assert small.size is not None, "the hub says it"


def test_a_repository_that_cannot_be_looked_at_is_said(hub):
    hub.fail_always("/api/models/two/Large-GGUF", answer({"id": 3}))
    found = search_hub("gguf", machine=machine())
    assert names(found) == ["hf:one/Small-GGUF:Q4_K_M"]
    assert [name for name, _ in found.unread] == ["two/Large-GGUF"]


def test_a_claim_of_a_hundred_gigabytes_costs_nothing(hub):
    evil = b"GGUF" + (3).to_bytes(4, "little") + (1 << 60).to_bytes(8, "little") * 2 + b"\xff" * 5000
    hub.repos["one/Small-GGUF"].files["s-Q4_K_M.gguf"] = evil
    (row,) = search_hub("small", machine=machine()).rows
    assert "claims" in row.problem
    assert row.row.fit == "unknown"


def test_facts_of_a_hubs_name_say_what_is_from_where(hub):
    facts = model_facts("hf:one/Small-GGUF", machine())
    assert facts.row.name == "hf:one/Small-GGUF:Q4_K_M"
    assert facts.sources["context_length"] == "gguf header, read from the hub"
    assert facts.sources["size"] == facts.sources["licence"] == facts.sources["files"] == "hub metadata"
    assert facts.repository.commit == hub.repos["one/Small-GGUF"].commit()
    assert sorted(row.name for row in facts.variants) == ["hf:one/Small-GGUF:Q4_K_M", "hf:one/Small-GGUF:Q8_0"]
    assert not facts.row.downloaded


def test_an_entry_of_the_catalog_gets_what_the_hub_knows(hub, home):
    home.mkdir(exist_ok=True)
    entry = {"source": "hf:one/Small-GGUF:Q4_K_M", "quantization": "Q4_K_M", "licence": "Apache-2.0", "parameters": 99}
    (home / "models.json").write_text(json.dumps({"mine": entry}))
    facts = model_facts("mine", machine())
    assert facts.row.name == "mine:q4_k_m"
    assert (facts.row.parameters, facts.sources["parameters"]) == (99, "models.json")
    assert facts.row.size == len(hub.repos["one/Small-GGUF"].files["s-Q4_K_M.gguf"])
    assert facts.sources["size"] == "hub metadata"
    assert (facts.row.licence, facts.sources["licence"]) == ("Apache-2.0", "models.json"), "a person's own word stands"
    assert [row.name for row in facts.variants] == ["mine:q4_k_m", "hf:one/Small-GGUF:Q8_0"]


def test_a_download_says_first_what_it_would_fetch(hub):
    plan = plan_downloads(["hf:one/Small-GGUF", "hf:one/Small-GGUF:Q8_0"])
    sizes = [len(content) for content in hub.repos["one/Small-GGUF"].files.values()]
    assert (plan.bytes, plan.count, plan.of_unknown_size) == (sum(sizes), 2, 0)
    assert Store().installed() == []


def test_a_repository_has_its_own_terms_also_where_its_bytes_are_here_from_another(hub, gguf, monkeypatch):
    """Somebody's copy of a model may claim a licence that its maker never gave."""
    content = gguf(general__license="gemma")
    hub.repos["maker/Terms-GGUF"] = Repo("maker/Terms-GGUF", {"t-Q4_K_M.gguf": content}, {"license": "gemma"})
    hub.repos["copy/Terms-GGUF"] = Repo("copy/Terms-GGUF", {"t-Q4_K_M.gguf": content}, {"license": "mit"})
    (plan,) = plan_downloads(["hf:copy/Terms-GGUF"]).downloads
    Store().ensure(plan.variant, plan.spec.licence)
    rows = {row.row.name: row.row for row in search_hub("terms", machine=machine()).rows}
    copy, maker = rows["hf:copy/Terms-GGUF:Q4_K_M"], rows["hf:maker/Terms-GGUF:Q4_K_M"]
    assert (copy.downloaded, copy.licence_class) == (True, "permissive")
    assert (maker.downloaded, maker.licence, maker.licence_class) == (True, "gemma", "use-restricted")
    asked = search_hub("terms", Filters(licences=("permissive",)), machine=machine())
    assert names(asked) == ["hf:copy/Terms-GGUF:Q4_K_M"]

    def read_only(*_args, **_kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Manifests, "write", read_only)
    (plan,) = plan_downloads(["hf:maker/Terms-GGUF"]).downloads
    served = Store().ensure(plan.variant, plan.spec.licence)
    assert served.licence.id == "gemma", "also where no manifest can be written"
