"""What goes wrong between the catalogue and a prompt: wrong data files, leaking ids, phrases that mean two things."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ryla_assets.domain.character import WizardConfig, parse_character
from ryla_assets.domain.errors import InputError, Refused, UnsafeText
from ryla_assets.domain.safety import MINOR_SAFETY_NEGATIVE, screen
from ryla_assets.domain.shots import BASE_SHOTS, SHEET_SHOTS, Shot, content_shots
from ryla_assets.prompts import build
from ryla_assets.prompts.build import DEFAULT_LIGHTING, build_caption, build_prompt
from ryla_assets.prompts.catalogue import LOOK, catalogue, load_catalogue
from ryla_assets.prompts.lexicon import TRAIT_SECTIONS, lexicon
from ryla_assets.studio.lora import trigger_of

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "characters").glob("*.yaml"))
SECTION_SIZES = {"lighting": 24, "pose": 28, "environment": 7, "outfit": 30, "archetype": 6, "trait": 16}
FRONT = BASE_SHOTS[0]


def example(path: Path) -> WizardConfig:
    return parse_character(yaml.safe_load(path.read_text("utf-8")), source=path.name).config


def character(**changes: object) -> WizardConfig:
    config: dict[str, Any] = {"name": "Mara Lind", "gender": "female", "ethnicity": "caucasian", "age": 34}
    config |= {"eye_color": "green", "hair_color": "auburn", "hair_style": "wavy", "body_type": "athletic"}
    return WizardConfig(**(config | changes))


def read(prompt: str) -> dict[str, str]:
    """The smallest reader of a prompt: longest phrase first, each span once, the earlier wins."""
    text, found = prompt.casefold(), []
    for phrase in lexicon()["phrases"]:
        words, sets = str(phrase["phrase"]), phrase["set"]
        while (at := text.find(words)) >= 0:
            text = text[:at] + "\n" * len(words) + text[at + len(words) :]
            found.append((at, sets))
    picture: dict[str, str] = {}
    for _, sets in sorted(found, key=lambda hit: hit[0]):
        assert isinstance(sets, dict)
        picture = sets | picture
    return picture


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("shot", [*SHEET_SHOTS, BASE_SHOTS[0]], ids=lambda shot: shot.id)
def test_preview_reads_back_what_was_asked(path: Path, shot: Shot) -> None:
    """Camera, bearing and person survive the way through the words for every shot of the sheet."""
    config = example(path)
    picture = read(build_prompt(config, shot).positive)
    assert (picture["framing"], picture["view"], picture["posture"]) == (shot.framing, shot.view, shot.posture)
    assert picture.get("expression") == shot.expression
    assert picture.get("eye_color") == (None if shot.view == "back" else config.eye_color)
    for trait in ("gender", "ethnicity", "hair_color", "hair_style", "style"):
        assert picture[trait] == getattr(config, trait)
    light = {"studio-softbox": "studio", "natural-daylight": "natural", "dramatic-shadows": "dramatic"}
    assert picture["light"] == light[str(shot.lighting)]
    assert picture["background"] in LOOK["background"]
    assert picture["outfit"] in LOOK["outfit"]


def test_every_trait_is_read_back() -> None:
    """Each value of each appearance section sets itself, and nothing else of the person."""
    for section in TRAIT_SECTIONS:
        for entry_id, entry in catalogue().sections[section].items():
            if entry.text:
                assert read(entry.text) == {section: entry_id}


def test_no_phrase_hides_in_another() -> None:
    """A phrase inside another text would set something nobody asked for ("asian" in "caucasian")."""
    phrases = [str(phrase["phrase"]) for phrase in lexicon()["phrases"]]
    assert len(set(phrases)) == len(phrases)
    texts = {
        entry.text.casefold()
        for section, entries in catalogue().sections.items()
        if section != "negative"
        for entry in entries.values()
    }
    hidden = [(phrase, text) for phrase in phrases for text in texts if phrase != text and phrase in text]
    assert hidden == []


def test_no_two_ids_say_the_same() -> None:
    """Two ids of a section with one text would be one choice with two names."""
    for entries in catalogue().sections.values():
        for one, other in combinations([entry.text for entry in entries.values() if entry.text], 2):
            assert one != other


def test_catalogue_has_every_promised_id() -> None:
    """The sets of the original product are complete: 24 lightings, 28 poses, 7 environments and so on."""
    assert {section: len(catalogue().ids(section)) for section in SECTION_SIZES} == SECTION_SIZES
    core = {"professional-portrait", "candid-lifestyle", "fashion-editorial", "fitness-motivation"}
    core |= {"morning-vibes", "night-out", "cozy-home", "beach-day"}
    assert core <= set(catalogue().ids("scene"))
    assert len(catalogue().ids("scene")) == 36


def test_catalogue_text_breaks_no_tool_downstream() -> None:
    """No "--" (the trainer reads flags in sample prompts), no placeholder, no line break, no loose spaces."""
    for entries in catalogue().sections.values():
        for entry in entries.values():
            assert not any(mark in entry.text for mark in ("--", "[", "{", "_", "\n", "embedding:"))
            assert entry.text == entry.text.strip()


def test_shots_speak_only_catalogue_words() -> None:
    """Lighting and environment of the fixed shots exist."""
    for shot in (*SHEET_SHOTS, *BASE_SHOTS):
        assert shot.lighting in catalogue().ids("lighting")
        assert shot.environment in catalogue().ids("environment")
    for section in ("framing", "view", "posture", "expression"):
        assert catalogue().ids(section) == LOOK[section]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scene: {park: {text: a}, park: {text: b}}", "written twice"),
        ("scene: {park: {text: a}}\nscene: {gym: {text: b}}", "written twice"),
        ("scene: {park: {text: a, mood: b}}", "mood"),
        ("scene: {park: {text: 3}}", "string"),
        ("scene: {park: {}}", "Field required"),
        ("scene: {park: {text: a, preview: {lihgt: studio}}}", "Did you mean 'light'"),
        ("scene: {park: {text: a, preview: {light: studoi}}}", "Did you mean 'studio'"),
        ("scene: {park: {text: a, lighting: moonlihgt}}\nlighting: {moonlight: {text: m}}", "Did you mean 'moonlight'"),
        ("scene: {Park_Lane: {text: a}}", "lower case"),
        ("scene: park", "not a mapping"),
        ("- scene", "not a mapping"),
    ],
)
def test_wrong_catalogue_does_not_load(tmp_path: Path, text: str, message: str) -> None:
    """A mistake in a data file is found at load, with its place, not in a paid picture."""
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_catalogue(tmp_path)


def test_section_in_two_files_does_not_load(tmp_path: Path) -> None:
    """The second file of a section does not replace the first in silence."""
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("scene: {park: {text: a}}")
    with pytest.raises(InputError, match=r"two files, one is two\.yaml"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize("argument", ["scene", "environment", "outfit", "pose", "lighting", "style"])
def test_unknown_id_never_reaches_a_prompt(argument: str) -> None:
    """Each choice is looked up; an unknown one is an error that names its argument."""
    with pytest.raises(InputError, match="Choose one of") as caught:
        build_prompt(character(), FRONT, **{argument: "no-such-id"})  # type: ignore[arg-type]
    assert caught.value.field == argument


def test_words_come_in_the_documented_order() -> None:
    """Medium, trigger, person, bearing, camera, outfit, place, light, style, details, quality."""
    shot = content_shots(scene="gym", environment="office", lighting="moonlight")[0]
    prompt = build_prompt(
        character(archetype="playful-fun", personality_traits=("bold", "caring"), skin_color="tan", tattoos="small"),
        shot,
        outfit="hoodie",
        style="film-grain",
        details="holding a red umbrella",
        trigger="rykx",
    )
    assert prompt.positive == (
        "photo of rykx, a 34-year-old adult woman of European descent, auburn hair falling in soft waves, green eyes, "
        "warm tanned skin, athletic build, a small tattoo on the wrist, lively and humorous mood, "
        "bold and caring attitude, warm smile, standing upright, medium shot from the waist up, facing the camera, "
        "wearing soft hoodie, in a modern office, well-equipped gym, cool moonlight, fine film grain, "
        "holding a red umbrella, natural skin texture, sharp focus, high detail"
    )


def test_argument_beats_shot_beats_scene() -> None:
    """Lighting: what is asked for, else the shot's, else the scene's, else daylight."""
    free, lit = Shot("a", "medium", "front", "standing", "smile"), BASE_SHOTS[0]

    def light(shot: Shot, **choice: str) -> str:
        return read(build_prompt(character(), shot, **choice).positive)["light"]  # type: ignore[arg-type]

    assert light(lit, scene="neon-alley", lighting="sunrise") == "golden"
    assert light(lit, scene="neon-alley") == "studio"
    assert light(free, scene="neon-alley") == "night"
    assert light(free) == catalogue().entry("lighting", DEFAULT_LIGHTING).preview["light"] == "natural"


def test_expressive_pose_is_not_contradicted() -> None:
    """A laughing person is not given a neutral face as well."""
    prompt = build_prompt(character(), FRONT, pose="expressive-laughing").positive
    assert "neutral expression" not in prompt
    assert read(prompt)["expression"] == "smile"


def test_close_up_names_no_body() -> None:
    """A named body makes models step back: it is said on medium and full shots only."""
    close, medium = SHEET_SHOTS[0], SHEET_SHOTS[1]
    assert "athletic build" not in build_prompt(character(), close).positive
    assert "athletic build" in build_prompt(character(), medium).positive


def test_back_view_names_no_face() -> None:
    """A named smile or eye colour makes models turn the head round."""
    behind = Shot("behind", "medium", "back", "standing", "smile")
    prompt = build_prompt(character(freckles="heavy", face_shape="oval"), behind).positive
    assert not any(word in prompt for word in ("smile", "eyes", "freckles", "oval face"))


def test_bald_head_has_no_hair_colour() -> None:
    """Bald and blonde at once is a contradiction."""
    man = character(gender="male", hair_style="bald", hair_color="blonde", body_type="slim")
    prompt = build_prompt(man, FRONT).positive
    assert "bald head" in prompt
    assert "blonde" not in prompt


def test_base_image_is_always_sfw() -> None:
    """Base images have no body shape, no beachwear and the sfw negative, whatever the character allows."""
    config = character(default_outfit="bikini", body_type="curvy", nsfw_enabled=True)
    base = build_prompt(config, FRONT, rating="nsfw", sfw_base=True)
    assert "bikini" not in base.positive
    assert "curvy" not in base.positive
    assert "nudity" in base.negative
    assert "bikini" in build_prompt(config, FRONT).positive


def test_composed_outfit_is_worded_whole() -> None:
    """Every piece of a composition is worn."""
    config = character(
        default_outfit={"top": "blouse", "bottom": "chinos", "headwear": "fedora", "accessories": ["scarf", "glasses"]}
    )
    worn = "wearing a loose blouse, beige chinos and a fedora with a wool scarf and thin-framed glasses"
    assert worn in build_prompt(config, FRONT).positive
    assert worn in build_caption(config, FRONT, "rykx")


@pytest.mark.parametrize("details", ["a teen friend", "looks 16", "in her school uniform"])
def test_unsafe_details_are_blocked(details: str) -> None:
    """Free details are screened before anything is built of them."""
    with pytest.raises(UnsafeText) as caught:
        build_prompt(character(), FRONT, details=details)
    assert caught.value.field == "details"


def test_long_details_are_refused() -> None:
    """Details over 500 characters drown the structure."""
    with pytest.raises(InputError, match="500 characters"):
        build_prompt(character(), FRONT, details="parks " * 100)


def test_details_cannot_change_the_person() -> None:
    """What the details say of eyes or view comes after the structure, which wins."""
    picture = read(build_prompt(character(), FRONT, details="blue eyes, seen from behind").positive)
    assert (picture["eye_color"], picture["view"]) == ("green", "front")


@pytest.mark.parametrize("rating", ["sfw", "nsfw"])
def test_negative_always_keeps_minors_out(rating: str) -> None:
    """Every negative opens with the minor-safety words; sfw adds nudity."""
    negative = build_prompt(character(nsfw_enabled=True), FRONT, rating=rating).negative
    assert negative.startswith(MINOR_SAFETY_NEGATIVE)
    assert ("nudity" in negative) is (rating == "sfw")


def test_rating_needs_the_characters_consent() -> None:
    """A request cannot raise the rating of a character that does not allow it; an unknown rating is an error."""
    with pytest.raises(Refused, match="nsfw_enabled"):
        build_prompt(character(), FRONT, rating="nsfw")
    with pytest.raises(InputError, match="sfw, nsfw"):
        build_prompt(character(), FRONT, rating="adult")


def test_every_prompt_says_adult() -> None:
    """From 18 to 80 the person is worded as an adult of at least 21, with the right article."""
    for age in range(18, 81):
        article = "an" if age == 80 else "a"
        expected = f"{article} {max(age, 21)}-year-old adult woman"
        assert f" {expected} of" in build_prompt(character(age=age), FRONT).positive


def test_caption_names_what_varies_only() -> None:
    """Face, eyes, hair, skin and body belong to the trigger; camera, bearing, outfit, place and light are told."""
    config = character(skin_color="tan", freckles="heavy", face_shape="oval", archetype="playful-fun", tattoos="large")
    caption = build_caption(config, SHEET_SHOTS[1], "rykx")
    assert caption == (
        "photo of rykx adult woman, medium shot from the waist up, facing the camera, warm smile, standing upright, "
        "wearing plain t-shirt and jeans, on an urban street, natural daylight"
    )


@pytest.mark.parametrize("trigger", ["", "ab", "two words", "9lives", "rykx17", "a,b", "x" * 40])
def test_trigger_that_is_no_single_word_is_refused(trigger: str) -> None:
    """A trigger is one plain word, in captions and prompts alike."""
    with pytest.raises(InputError, match="one word"):
        build_caption(character(), FRONT, trigger)


def test_trigger_is_screened() -> None:
    """A blocked word is no trigger."""
    with pytest.raises(UnsafeText):
        build_caption(character(), FRONT, "teen")


def test_whole_text_is_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is screened is what is sent, with its first words: a name may end in one part and begin in another."""
    screened: list[str] = []
    monkeypatch.setattr(build, "screen", lambda text, **_: screened.append(text))
    prompt = build_prompt(character(), FRONT, trigger="rykx").positive
    caption = build_caption(character(), FRONT, "rykx")
    assert prompt.startswith("photo of rykx, ")
    assert {prompt, caption} <= set(screened)


def test_triggers_of_ours_pass_the_screen() -> None:
    """Eight consonants spell no word that the screen knows, in a whole prompt too."""
    for number in range(300):
        screen(f"photo of {trigger_of(f'character-{number}')}, a 34-year-old adult woman", field="prompt")
