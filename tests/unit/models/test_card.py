"""What a model card's head says of the licence."""

import pytest

from audition.models.card import card_licence


def licence(folder, text):
    (folder / "README.md").write_text(text)
    return card_licence(folder)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("license: mit", ("mit", "permissive", None)),
        ("language:\n- en\nlicense: 'gemma'\ntags: []", ("gemma", "use-restricted", None)),
        (
            'license: other\nlicense_name: "lfm1.0"\nlicense_link: https://x.example/LICENSE',
            ("lfm1.0", "unknown", "https://x.example/LICENSE"),
        ),
        (
            "license: other\nlicense_name: qwen-research\nlicense_link: LICENSE",
            ("qwen-research", "non-commercial", None),
        ),
        ("license: apache-2.0\r", ("apache-2.0", "permissive", None)),
        ("license:\n- mit\n- gemma", (None, "unknown", None)),
        ("license: [mit]", (None, "unknown", None)),
        ("license_name: mit", (None, "unknown", None)),
        ("# license: mit", (None, "unknown", None)),
        ("license: a\x1bb", (None, "unknown", None)),
        ("x: 1", (None, "unknown", None)),
    ],
)
def test_the_head_of_a_card_states_the_licence(tmp_path, head, expected):
    read = licence(tmp_path, f"---\n{head}\n---\n# A model\nlicense: gpl\n")
    assert (read.id, read.cls, read.link) == expected
    assert read.source == "model card"


@pytest.mark.parametrize(
    "text", ["", "license: mit\n---\n", "---\nlicense: mit\n", "# Title\n---\nlicense: mit\n---\n"]
)
def test_what_is_no_head_states_nothing(tmp_path, text):
    assert licence(tmp_path, text).id is None


def test_a_folder_without_a_card_states_nothing(tmp_path):
    assert card_licence(tmp_path).id is None


def test_a_hostile_card_is_read_quickly(tmp_path):
    assert licence(tmp_path, "---\n" + "license: " + "a " * 10**6).id is None
    assert licence(tmp_path, "---\n" + "license_link: '" * 10**5 + "\n---\n").id is None
