"""Licences, variants and models: what their words mean."""

import pytest

from audition.models.spec import Licence, LicenceClass, ModelSpec, Variant, VariantFile


def variant(quantization=None, **changes):
    return Variant("tiny", "gguf", quantization, "file:/tiny.gguf", **changes)


def spec(*variants):
    return ModelSpec("tiny", Licence.named(None, source="catalog"), variants, "built-in")


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("Apache-2.0", "permissive"),
        ("apache-2.0", "permissive"),
        (" MIT ", "permissive"),
        ("cc-by-4.0", "permissive"),
        ("gemma", "use-restricted"),
        ("Llama3.2", "use-restricted"),
        ("openrail++", "use-restricted"),
        ("cc-by-nc-4.0", "non-commercial"),
        ("qwen-research", "non-commercial"),
        ("bsd", "permissive"),
        ("cdla-permissive-2.0", "permissive"),
        ("grok2-community", "use-restricted"),
        ("apple-amlr", "non-commercial"),
    ],
)
def test_known_licences_have_a_class(identifier, expected):
    licence = Licence.named(identifier, source="gguf header")
    assert licence.cls == expected
    assert licence.source == "gguf header"


@pytest.mark.parametrize(
    "identifier",
    [
        None,
        "",
        "other",
        "unknown",
        "gpl-3.0",
        "agpl-3.0",
        "cc-by-sa-4.0",
        "cc-by-nd-4.0",
        "mpl-2.0",
        "cc",
        "Apache",
        "apache 2.0",
        "mit-0",
        "MIT or not",
        "llama",
        "gemma2",
        "cc-by",
        "permissive",
        "?",
    ],
)
def test_a_licence_that_is_not_in_the_table_is_never_guessed(identifier):
    assert Licence.named(identifier, source="catalog").cls is LicenceClass.UNKNOWN


def test_a_licence_keeps_its_publishers_spelling():
    assert Licence.named("Apache-2.0", source="catalog").id == "Apache-2.0"
    assert Licence.named("", source="catalog").id is None


@pytest.mark.parametrize(
    ("identifier", "name", "expected"),
    [
        ("mit", None, "mit"),
        ("mit", "Some Name", "mit"),
        ("other", "lfm1.0", "lfm1.0"),
        ("Other", None, "other"),
        ("unknown", None, None),
        (None, "apache-2.0", "apache-2.0"),
        (None, None, None),
        (" ", " ", None),
    ],
)
def test_other_is_a_licence_with_a_name_of_its_own(identifier, name, expected):
    licence = Licence.stated(identifier, name=name, link=None, source="hub metadata")
    assert licence.id == expected
    assert licence.cls == Licence.named(expected, source="").cls


@pytest.mark.parametrize("link", ["https://x.example/LICENSE", "http://x.example"])
def test_a_licence_has_a_link(link):
    assert Licence.stated("other", name=None, link=link, source="model card").link == link


@pytest.mark.parametrize(
    "link",
    [
        "LICENSE",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://x y",
        "https://",
        "",
        None,
        "https://x/\x1b[2J",
        "https://x/" + "y" * 500,
    ],
)
def test_what_is_no_address_is_no_link(link):
    assert Licence.stated("other", name=None, link=link, source="model card").link is None


def test_of_two_licences_the_first_stands_and_the_other_is_noted():
    catalog, hub = Licence.named("Apache-2.0", source="catalog"), Licence.named("gemma", source="hub metadata")
    both = catalog.beside(hub)
    assert (both.id, both.cls, both.source) == ("Apache-2.0", LicenceClass.PERMISSIVE, "catalog")
    assert both.note == "the hub metadata says gemma (use-restricted)"
    assert both.beside(Licence.named("mit", source="gguf header")).note == both.note


def test_where_the_first_says_nothing_the_other_holds():
    nothing, hub = Licence.named(None, source="catalog"), Licence.named("gemma", source="hub metadata")
    assert nothing.beside(hub) == hub
    assert hub.beside(nothing) == hub
    assert nothing.beside(Licence.named(None, source="hub metadata")) == nothing


def test_licences_that_agree_lend_each_other_a_link():
    hub = Licence.stated("apache-2.0", name=None, link="https://x.example", source="hub metadata")
    both = Licence.named("Apache-2.0", source="catalog").beside(hub)
    assert (both.id, both.source, both.link, both.note) == ("Apache-2.0", "catalog", "https://x.example", None)


@pytest.mark.parametrize("source", ["models.json", "import"])
def test_what_a_person_says_themselves_stands_without_a_note(source):
    own = Licence("in-house", LicenceClass.PERMISSIVE, source)
    assert own.beside(Licence.named("gemma", source="hub metadata")) == own


def test_a_class_that_a_person_gave_stands_without_an_identifier():
    own = Licence(None, LicenceClass.PERMISSIVE, "models.json")
    assert own.beside(Licence.named("gemma", source="hub metadata")) == own


def test_a_licence_is_written_and_read():
    full = Licence("x", LicenceClass.UNKNOWN, "hub metadata", "https://x.example", "the gguf header says y (unknown)")
    for licence in (full, Licence.named(None, source="catalog")):
        assert Licence.from_json(licence.to_json()) == licence
    before = {"id": None, "class": "unknown", "source": "catalog"}
    assert Licence.named(None, source="catalog").to_json() == before
    assert Licence.from_json(before).link is None


def test_a_licence_is_shown_with_its_class():
    assert str(Licence.named("gemma", source="catalog")) == "gemma (use-restricted)"
    assert str(Licence.named("my own", source="catalog")) == "my own (unknown)"
    assert str(Licence.named(None, source="catalog")) == "unknown"


def test_a_variants_id_is_its_alias_and_quantization_in_lower_case():
    assert variant("Q4_K_M").id == "tiny:q4_k_m"
    assert variant(None).id == "tiny:gguf"


def test_a_variants_size_is_the_sum_of_its_files():
    files = (VariantFile("a", 3), VariantFile("b", 4))
    assert variant(files=files).size == 7
    assert variant(files=files, nominal_mb=500.0).size == 7


def test_without_sizes_of_all_files_the_nominal_size_counts_and_else_it_is_unknown():
    files = (VariantFile("a", 3), VariantFile("b"))
    assert variant(files=files, nominal_mb=1.5).size == 1_500_000
    assert variant(files=files).size is None
    assert variant(nominal_mb=398.0).size == 398_000_000
    assert variant().size is None


def test_a_model_gives_the_variant_asked_for_or_its_first():
    q4, q8 = variant("Q4_K_M"), variant("Q8_0")
    model = spec(q4, q8)
    assert model.variant() is q4
    assert model.variant("q8_0") is q8
    assert model.variant("Q8_0") is q8
    assert model.variant("q2_k") is None


def test_a_variant_without_a_quantization_goes_by_its_format():
    only = variant(None)
    assert spec(only).variant("gguf") is only
