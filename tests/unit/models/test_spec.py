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
    ],
)
def test_known_licences_have_a_class(identifier, expected):
    licence = Licence.named(identifier, source="gguf header")
    assert licence.cls == expected
    assert licence.source == "gguf header"


@pytest.mark.parametrize(
    "identifier",
    [None, "", "other", "Apache", "apache 2.0", "mit-0", "MIT or not", "llama", "gemma2", "cc-by", "permissive", "?"],
)
def test_a_licence_that_is_not_in_the_table_is_never_guessed(identifier):
    assert Licence.named(identifier, source="catalog").cls is LicenceClass.UNKNOWN


def test_a_licence_keeps_its_publishers_spelling():
    assert Licence.named("Apache-2.0", source="catalog").id == "Apache-2.0"
    assert Licence.named("", source="catalog").id is None


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
