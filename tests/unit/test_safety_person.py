"""What must not get past the deny list of real people, and what a name on it must not block."""

import pytest

from ryla_assets.domain.safety import reason_against
from ryla_assets.domain.safety_person import DenyList
from tests.unit.safety_sets import code_of

DENIED = DenyList.of(
    ["# people", "", "\u00c1da Example  # a comment", "Solo", "Bo Y", "\u738b\u5c0f\u660e", "O'Dair Quill", "50 Crowns",
     "\ud64d\uae38\ub3d9", "J K Writer", "Anna Maria de la Cruz Ejemplo Larga"]
)  # fmt: skip


def denied(text: str) -> bool:
    """Whether the list blocks a text; without the list the text passes."""
    assert code_of(text) == ""
    return reason_against(text, DENIED) == "real_person"


@pytest.mark.parametrize(
    "text",
    ["Ada Example", "portrait of ada  example", "Ad\u00e1 Ex@mple", "ADA-EXAMPLE, smiling", "Solo", "AdaExample",
     "#AdaExample", "ada_example", "Ada\u200bExample", "Ada\u00adExample", "A d a Example", "a.d.a. e.x.a.m.p.l.e",
     "Ad a Exam ple", "Ada M. Example", "Ada J. M. Example", "Ada <b>Example</b>", "Ada Example's hat",
     "\u0410da Example", "\u738b\u5c0f\u660e", "\u738b \u5c0f \u660e", "\u6211\u53eb\u738b\u5c0f\u660e",
     "\u738b\u00b7\u5c0f\u660e\u7684\u7167\u7247",
     "O'Dair Quill", "ODair Quill", "50 Crowns", "50crowns on stage", "\ud64d\uae38\ub3d9\uc774", "\ud64d \uae38\ub3d9",
     "J. K. Writer", "J.K.Writer", "Anna Maria de la Cruz Ejemplo Larga", "bo y"],
)  # fmt: skip
def test_name_of_the_deny_list_is_blocked(text: str) -> None:
    """However its words are cut, run together, spelled or interrupted by initials."""
    assert denied(text)


@pytest.mark.parametrize(
    "text",
    ["Ada walks", "an example", "Example Ada", "Adana Example", "Ada Examples", "Nevada Example", "Canada exampled",
     "soloist", "absolo", "so long", "\u738b\u5c0f", "\u5c0f\u660e\u738b", "Crowns", "50 coins", "Quill", "Anna Maria"],
)  # fmt: skip
def test_deny_list_blocks_whole_names_only(text: str) -> None:
    """Half of a name, or a longer word, is somebody else's."""
    assert not denied(text)


def test_name_of_one_letter_more_is_found_at_the_end_of_a_text() -> None:
    """Names are looked up by their first letters: one that is shorter than these is found as well."""
    assert [denied(text) for text in ("by Solo", "Solo", "Bo Y", "Bo Ying")] == [True, True, True, False]


@pytest.mark.parametrize(
    "text", ["looks a lot like Ada Quill", "face of Ada Quill", "a real person", "well known actress", "face swapping"]
)
def test_wording_is_blocked_without_a_list(text: str) -> None:
    """What asks for somebody's likeness needs no list."""
    assert code_of(text) == "real_person"
