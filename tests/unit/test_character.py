"""What goes wrong with a character's description, and what its author is told."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from ryla_assets.domain import choices
from ryla_assets.domain.character import OutfitComposition, WizardConfig, parse_character
from ryla_assets.domain.errors import InputError, UnsafeText
from ryla_assets.domain.safety import text_hash
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.prompts.catalogue import catalogue

EXAMPLES = Path(__file__).parents[2] / "examples" / "characters"
VALID: dict[str, Any] = {
    "name": "Mara Lind",
    "gender": "female",
    "ethnicity": "caucasian",
    "age": 34,
    "eye_color": "green",
    "hair_color": "auburn",
    "hair_style": "wavy",
    "body_type": "athletic",
}


def parse(character_id: object = "mara-lind", /, **changes: object) -> WizardConfig:
    return parse_character({"id": character_id, "config": VALID | changes}, source="mara.yaml").config


def refused(**changes: object) -> InputError:
    with pytest.raises(InputError) as caught:
        parse(**changes)
    return caught.value


def test_valid_description_keeps_every_value() -> None:
    """A valid description is taken as written, lists as tuples, the rest by its defaults."""
    config = parse(personality_traits=["bold", "caring"], bio="Plans parks.")
    assert (config.age, config.personality_traits, config.bio) == (34, ("bold", "caring"), "Plans parks.")
    assert (config.style, config.nsfw_enabled, config.base_model) == ("realistic", False, None)


def test_description_survives_json() -> None:
    """The registry stores the config as JSON and reads the same config back."""
    config = parse(default_outfit={"top": "blouse", "bottom": "chinos", "accessories": ["scarf"]})
    assert WizardConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("age", [17, 1, 0, -5])
def test_minor_is_refused_with_the_rule(age: int) -> None:
    """An age under 18 is refused by a sentence that offers no way round."""
    error = refused(age=age)
    assert (error.field, error.value, error.way_out) == ("config.age", age, "")
    assert str(error) == "config.age: RYLA draws adults only: age must be 18 or more."


def test_age_rule_is_told_before_other_faults() -> None:
    """With several faults the age is the one explained, and the others are named."""
    assert str(refused(age=12, eye_color="grean")).startswith("config.age: RYLA draws adults only")
    assert "Also wrong: config.eye_color." in refused(age=12, eye_color="grean").way_out


def test_minor_cannot_be_built_past_the_parser() -> None:
    """Building the model directly refuses a minor as well."""
    with pytest.raises(ValidationError):
        WizardConfig(**(VALID | {"age": 17}))


@pytest.mark.parametrize("age", ["34", 34.5, True, None])
def test_age_that_is_no_whole_number_is_not_guessed(age: object) -> None:
    """Nothing is coerced: "34" in quotes is a mistake worth telling."""
    assert "whole years, 18 to 80" in str(refused(age=age))


def test_unknown_value_names_field_value_neighbour_and_all_choices() -> None:
    """A misspelled value is answered by the field, the value, the nearest one and the full list."""
    assert str(refused(eye_color="grean")) == (
        "config.eye_color: 'grean' is not a known value. Did you mean 'green'? "
        "Choose one of: brown, blue, green, hazel, gray, amber."
    )


def test_style_of_the_other_gender_is_refused() -> None:
    """Hair and body values are checked against the gender, naming those that fit."""
    assert "bald" not in refused(hair_style="crew-cut").way_out
    assert "muscular" in refused(gender="male", hair_style="short", body_type="curvy").way_out


def test_age_range_that_misses_the_age_names_both() -> None:
    """A range and an age that contradict each other are both in the message."""
    message = str(refused(age_range="42-50"))
    assert "42-50" in message
    assert "34" in message
    assert parse(age_range="34-41").age_range == "34-41"


def test_misspelled_field_is_not_ignored() -> None:
    """An unknown field is an error with its near match, never dropped."""
    error = refused(eye_colour="green")
    assert error.field == "config.eye_colour"
    assert "Did you mean 'eye_color'?" in error.way_out


def test_missing_field_is_named_with_its_choices() -> None:
    """A required field that is absent is named, with what it may be."""
    without = {key: value for key, value in VALID.items() if key != "hair_color"}
    with pytest.raises(InputError) as caught:
        parse_character({"id": "mara-lind", "config": without}, source="mara.yaml")
    assert caught.value.field == "config.hair_color"
    assert "auburn" in caught.value.way_out


@pytest.mark.parametrize("traits", [["bold", "bold"], ["bold", "caring", "shy", "edgy"], ["brave"]])
def test_wrong_traits_are_refused(traits: list[str]) -> None:
    """Up to three different traits of the sixteen."""
    assert refused(personality_traits=traits).field.startswith("config.personality_traits")


def test_composition_without_a_bottom_is_refused() -> None:
    """A composed outfit always dresses the person: top and bottom are required."""
    assert refused(default_outfit={"top": "blouse"}).field == "config.default_outfit.bottom"


def test_unknown_piece_is_named_by_its_dotted_place() -> None:
    """A wrong piece deep in a composition is found by its path."""
    error = refused(default_outfit={"top": "blouse", "bottom": "chinos", "accessories": ["scarf", "neklace"]})
    assert error.field == "config.default_outfit.accessories.1"
    assert "Did you mean 'necklace'?" in error.way_out


@pytest.mark.parametrize("outfit", ["cheerleader", "student-uniform", 3])
def test_outfit_outside_the_lists_is_refused(outfit: object) -> None:
    """The youth-coded outfits of the original product do not exist here, and are blocked besides."""
    with pytest.raises((InputError, UnsafeText)) as caught:
        parse(default_outfit=outfit)
    assert caught.value.field == "config.default_outfit"
    assert isinstance(caught.value, UnsafeText) == isinstance(outfit, str)


@pytest.mark.parametrize("field", ["name", "bio", "handle"])
def test_blocked_free_text_is_never_repeated(field: str) -> None:
    """Every free text is screened, and the error does not carry what it blocked."""
    with pytest.raises(UnsafeText) as caught:
        parse(**{field: "a schoolgirl at heart"})
    assert caught.value.field == f"config.{field}"
    assert "schoolgirl" not in f"{caught.value} {caught.value.as_dict()}"


def test_blocked_words_in_a_choice_are_not_echoed() -> None:
    """A wrong value is repeated only when the screen lets it pass; else it is a block, with the choices as way out."""
    for field in ("style", "gender", "hair_style", "age"):
        with pytest.raises(UnsafeText) as caught:
            parse(**{field: "a teenager"})
        assert "teen" not in f"{caught.value} {caught.value.as_dict()}"
        assert (caught.value.field, caught.value.value) == (f"config.{field}", "minor_term")
        assert ("Choose one of: " in caught.value.way_out) == (field != "age")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"teenager": "yes"}, "config"),
        ({"eye_color": "grean", "schoolgirl_outfit": 1}, "config"),
        ({"prompt": "a teenager"}, "config.prompt"),
        ({"default_outfit": {"top": "blouse", "bottom": "chinos", "school uniform": 1}}, "config"),
    ],
)
def test_blocked_name_or_text_of_an_unknown_field_is_not_echoed(changes: dict[str, object], field: str) -> None:
    """Neither the key, nor the key beside another fault, nor what stands under a harmless key."""
    with pytest.raises(UnsafeText) as caught:
        parse(**changes)
    told = f"{caught.value} {caught.value.as_dict()}"
    assert caught.value.field == field
    assert not [word for word in ("teenager", "schoolgirl", "school uniform") if word in told]


def test_blocked_key_beside_config_is_not_echoed() -> None:
    """The same at the top of a file."""
    with pytest.raises(UnsafeText) as caught:
        parse_character({"id": "mara-lind", "config": VALID, "a teenager": True}, source="mara.yaml")
    assert "teenager" not in f"{caught.value} {caught.value.as_dict()}"


def test_name_of_the_deny_list_is_not_echoed() -> None:
    """What the list denies is not repeated in an error about something else either."""
    denied = DenyList.of(["Ada Example"])
    for changes in ({"style": "Ada Example"}, {"ada_example": 1}, {"age": "adaexample"}):
        with pytest.raises(UnsafeText) as caught:
            parse_character({"id": "mara-lind", "config": VALID | changes}, source="mara.yaml", denied=denied)
        assert "xample" not in f"{caught.value} {caught.value.as_dict()}".lower()
    with pytest.raises(UnsafeText):
        parse_character({"id": "Ada Example!", "config": VALID}, source="mara.yaml", denied=denied)


def test_long_bio_is_refused_without_echo() -> None:
    """A bio over 500 characters is refused by its length."""
    error = refused(bio="parks " * 100)
    assert (error.field, error.value) == ("config.bio", None)


@pytest.mark.parametrize(
    ("given", "suggested"), [("Mara Lind!", "mara-lind"), ("_mara_", "mara"), ("a" * 60, "a" * 39), ("-x-y", "x-y")]
)
def test_bad_id_is_answered_with_a_valid_one(given: str, suggested: str) -> None:
    """The error of a bad id tells the rule and a near valid id."""
    with pytest.raises(InputError) as caught:
        parse(given)
    assert caught.value.field == "id"
    assert f"Try {suggested!r}." in caught.value.way_out
    assert parse(suggested) == parse()


@pytest.mark.parametrize("bad", [None, "", "a", 7, "ä"])
def test_id_that_cannot_be_saved_has_no_suggestion(bad: object) -> None:
    """Where no valid id can be made of it, only the rule is told."""
    with pytest.raises(InputError, match="2 to 39 characters") as caught:
        parse(bad)
    assert "Try" not in caught.value.way_out


@pytest.mark.parametrize(
    "numbered",
    [
        "import-0017",
        "anna-17",
        "17",
        "0016",
        "12-anna",
        "studio-14-b",
        "mara-lind-2",
        "x-9",
        "p-13-14",
        "may-15",
        "mara-2012",
    ],
)
def test_serial_number_in_an_id_is_no_age(numbered: str) -> None:
    """Imported characters are numbered; number 17 is not a minor."""
    assert parse(numbered) == parse()


@pytest.mark.parametrize(
    "aged",
    ["16-years-old", "anna-age-12", "15-year-old-anna", "born-2012-anna", "anna-is-15", "aged-16-mara", "anna-15yo",
     "under-18-anna", "u18-anna", "turned-17", "age-9-zoe", "sixteen-anna", "anna-12-years"],
)  # fmt: skip
def test_age_in_an_id_is_blocked(aged: str) -> None:
    """A serial number stands by itself: beside a word of age it is an age."""
    with pytest.raises(UnsafeText) as caught:
        parse(aged)
    assert (caught.value.field, caught.value.value) == ("id", "age_under_18")
    assert caught.value.sha256 == text_hash(aged)


@pytest.mark.parametrize("data", [{}, {"id": "mara-lind"}, {"id": "mara-lind", "config": []}])
def test_file_without_config_names_the_examples(data: dict[str, object]) -> None:
    """A file of the wrong shape is told where right ones are."""
    with pytest.raises(InputError, match="examples/characters"):
        parse_character(data, source="mara.yaml")


def test_unknown_key_beside_config_is_refused() -> None:
    """A third key at the top of a file is an error, not a comment."""
    with pytest.raises(InputError, match="'id' and 'config'"):
        parse_character({"id": "mara-lind", "config": VALID, "active": True}, source="mara.yaml")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    """Every example parses, its id is its file name, and it opens with one comment line."""
    text = path.read_text("utf-8")
    spec = parse_character(yaml.safe_load(text), source=path.name)
    assert spec.id == path.stem
    assert text.startswith("# ")


def test_examples_show_a_range_of_adults() -> None:
    """Six people of both genders and styles, different ages and ethnicities."""
    configs = [
        parse_character(yaml.safe_load(path.read_text("utf-8")), source=path.name).config
        for path in EXAMPLES.glob("*.yaml")
    ]
    assert len({config.age for config in configs}) == len({config.ethnicity for config in configs}) == 6
    assert {config.gender for config in configs} == {"female", "male"}
    assert {config.style for config in configs} == {"realistic", "anime"}
    assert {config.base_model for config in configs} == {"flux-dev", "zimage-turbo", None}


SECTION_OF = {"default_outfit": "outfit", "personality_traits": "trait"}
CHOICES: dict[str, object] = {
    "gender": choices.Gender,
    "style": choices.DrawingStyle,
    "ethnicity": choices.Ethnicity,
    "skin_color": choices.SkinColor,
    "eye_color": choices.EyeColor,
    "face_shape": choices.FaceShape,
    "hair_color": choices.HairColor,
    "hair_style": choices.HairStyle,
    "body_type": choices.BodyType,
    "freckles": choices.Freckles,
    "scars": choices.Scars,
    "beauty_marks": choices.BeautyMarks,
    "piercings": choices.Piercings,
    "tattoos": choices.Tattoos,
    "archetype": choices.Archetype,
    "trait": choices.Trait,
    "outfit": choices.Outfit,
    "top": choices.Top,
    "bottom": choices.Bottom,
    "shoes": choices.Shoes,
    "headwear": choices.Headwear,
    "outerwear": choices.Outerwear,
    "accessory": choices.Accessory,
    "quality": choices.DrawingStyle,
}


@pytest.mark.parametrize("section", CHOICES)
def test_wizard_value_without_words_is_impossible(section: str) -> None:
    """What may be chosen and what the catalogue has words for are the same set."""
    assert set(catalogue().ids(section)) == set(get_args(CHOICES[section]))


def test_no_choice_was_added_beside_the_catalogue() -> None:
    """Every choice field of config and composition is covered by the comparison above."""
    plain = {"name", "age", "age_range", "bio", "handle", "nsfw_enabled", "profile_picture_set_id", "base_model"}
    fields = {SECTION_OF.get(name, name) for name in set(WizardConfig.model_fields) - plain}
    pieces = {"accessory" if name == "accessories" else name for name in OutfitComposition.model_fields}
    assert fields | pieces | {"quality"} == set(CHOICES)
