"""The prompt bugs of the original product, B1 to B14, one test each: none of them can come back here."""

from typing import Any

import pytest

from ryla_assets.domain.character import WizardConfig
from ryla_assets.domain.errors import InputError, Refused
from ryla_assets.domain.seeds import seed
from ryla_assets.domain.shots import ASPECT_SIZES, BASE_SHOTS, SHEET_SHOTS, content_shots
from ryla_assets.prompts.build import PromptText, build_prompt
from ryla_assets.prompts.catalogue import catalogue

FRONT = BASE_SHOTS[0]


def character(**changes: object) -> WizardConfig:
    config: dict[str, Any] = {"name": "Mara Lind", "gender": "female", "ethnicity": "caucasian", "age": 34}
    config |= {"eye_color": "green", "hair_color": "auburn", "hair_style": "wavy", "body_type": "athletic"}
    return WizardConfig(**(config | changes))


def positive(config: WizardConfig | None = None, **choice: Any) -> str:
    return build_prompt(config or character(), FRONT, **choice).positive


def test_b01_gender_is_read() -> None:
    """B1: every character was a woman."""
    assert "adult man" in positive(character(gender="male"))
    assert "woman" not in positive(character(gender="male"))
    assert "adult woman" in positive()


def test_b02_style_and_archetype_reach_the_prompt() -> None:
    """B2: anime style and archetype were stored and never used."""
    assert positive(character(style="anime")).startswith("anime illustration of")
    assert positive().startswith("photo of")
    moods = {positive(character(archetype=archetype)) for archetype in catalogue().ids("archetype")}
    assert len(moods) == 6


def test_b03_traits_are_attitude_not_face() -> None:
    """B3: personality traits were written among the facial features."""
    text = positive(character(personality_traits=("bold", "caring", "classy"), face_shape="oval"))
    assert "bold, caring and refined attitude" in text
    assert text.index("oval face") < text.index("athletic build") < text.index("attitude")


@pytest.mark.parametrize("key", ["natural.soft", "positive.smiling"])
def test_b04_no_dotted_key_leaks(key: str) -> None:
    """B4: a lookup that failed put the literal dotted key into the prompt."""
    with pytest.raises(InputError):
        positive(lighting=key)
    assert "." not in positive(lighting="soft-diffused")


def test_b05_free_text_does_not_replace_the_structure() -> None:
    """B5: fine-tune text replaced the whole appearance."""
    with_details, without = positive(details="holding a red umbrella"), positive()
    assert with_details.replace(", holding a red umbrella", "") == without


def test_b06_environment_is_used() -> None:
    """B6: the chosen environment was stored and never used."""
    texts = {positive(environment=environment) for environment in catalogue().ids("environment")}
    assert len(texts) == 7
    assert "in a small cafe" in positive(environment="cafe", scene="night-out")


@pytest.mark.parametrize("section", ["scene", "lighting"])
def test_b07_every_offered_id_is_worded(section: str) -> None:
    """B7: ids that the interface offered and the server did not know went in as slugs."""
    for entry_id in catalogue().ids(section):
        text = positive(**{section: entry_id})
        assert catalogue().text(section, entry_id) in text
        assert "_" not in text
    with pytest.raises(InputError, match="Did you mean 'beach-sunset'"):
        positive(scene="beach_sunset")


def test_b08_visual_style_is_used() -> None:
    """B8: 44 visual styles were offered and none was sent."""
    texts = {positive(style=style) for style in catalogue().ids("visual_style")}
    assert len(texts) == len(catalogue().ids("visual_style"))


def test_b09_every_offered_aspect_is_accepted() -> None:
    """B9: the interface offered seven ratios, the server took three."""
    assert [content_shots(aspect=aspect)[0].aspect for aspect in ASPECT_SIZES] == list(ASPECT_SIZES)
    with pytest.raises(InputError, match="1:1, 2:3, 9:16"):
        content_shots(aspect="16:9")


def test_b10_no_seed_is_shared() -> None:
    """B10: seed 469 for everybody; here every character and shot has its own."""
    people = [f"character-{n}" for n in range(20)]
    seeds = {seed(person, "character_sheet", shot.id, 0) for person in people for shot in SHEET_SHOTS}
    assert len(seeds) == len(people) * len(SHEET_SHOTS)


def test_b11_negative_prompt_travels_with_the_positive() -> None:
    """B11: the negative was built and not passed, and the rating did not reach it."""
    prompt = build_prompt(character(), FRONT)
    assert isinstance(prompt, PromptText)
    assert "nudity" in prompt.negative
    assert "nudity" not in build_prompt(character(nsfw_enabled=True), FRONT, rating="nsfw").negative
    with pytest.raises(Refused):
        build_prompt(character(), FRONT, rating="nsfw")


def test_b12_size_of_each_aspect_reaches_the_shot() -> None:
    """B12: one backend ignored width and height and always drew squares."""
    sizes = [content_shots(aspect=aspect)[0].size(1024) for aspect in ("1:1", "2:3", "9:16")]
    assert sizes == [(1024, 1024), (896, 1344), (832, 1472)]


def test_b13_every_pose_builds() -> None:
    """B13: a pose of the interface was missing from the server's table."""
    assert len({positive(pose=pose) for pose in catalogue().ids("pose")}) == 28


def test_b14_no_preset_decides_the_ethnicity() -> None:
    """B14: a preset hard-coded an ethnicity; here no text but the character's own names one."""
    texts = {ethnicity: positive(character(ethnicity=ethnicity)) for ethnicity in catalogue().ids("ethnicity")}
    assert len(set(texts.values())) == 7
    words = [entry.text for entry in catalogue().sections["ethnicity"].values()]
    for ethnicity, text in texts.items():
        assert [word for word in words if word in text] == [catalogue().text("ethnicity", ethnicity)]
    others = [e.text for name, entries in catalogue().sections.items() if name != "ethnicity" for e in entries.values()]
    assert not any("descent" in text or "heritage" in text for text in others)
