"""A character: one adult synthetic persona and the wizard's description of it.

Belongs here: the description's model, its validation, and errors a person can act on. Does not belong here: files and
YAML, whether a character is active (`ryla_assets/registry/`), words of a prompt (`ryla_assets/prompts/`).
"""

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from ryla_assets.domain import choices
from ryla_assets.domain.choices import did_you_mean, unknown_choice, values
from ryla_assets.domain.errors import InputError, UnsafeText
from ryla_assets.domain.safety import MIN_AGE, blocked, reason_against, screen
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.domain.wrong_values import WrongValue, reason_not_to_repeat, unknown_field, wrong_value

MAX_AGE: Final = 80  # the product's wizard: 18-80
MAX_NAME, MAX_HANDLE, MAX_BIO = 60, 50, 500  # characters; handle and bio as the product validates them
SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,38}")
# A number in an id is a serial one, unless its neighbours make it an age: that is how the screen judges a number under
# ten, and so it is shown as one ("import-0017" passes, "anna-age-12" and "16-years-old" do not).
_SERIAL: Final = re.compile(r"(?<![a-z0-9])0*1[0-7](?![a-z0-9])")
ADULTS_ONLY: Final = "RYLA draws adults only: age must be 18 or more."

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")


class OutfitComposition(BaseModel):
    """An outfit put together from pieces. Top and bottom are required: a composition always dresses the person."""

    model_config = _STRICT

    top: choices.Top
    bottom: choices.Bottom
    shoes: choices.Shoes | None = None
    headwear: choices.Headwear | None = None
    outerwear: choices.Outerwear | None = None
    accessories: Annotated[tuple[choices.Accessory, ...], Strict(strict=False), Field(max_length=4)] = ()


def _outfit_kind(value: object) -> str:
    return "named" if isinstance(value, str) else "pieces"


OutfitChoice = Annotated[
    Annotated[choices.Outfit, Tag("named")] | Annotated[OutfitComposition, Tag("pieces")], Discriminator(_outfit_kind)
]


class WizardConfig(BaseModel):
    """The wizard's validated description of a character. What keeps a face the same is required, the rest optional.

    `base_model` None means the deployment's default. Raises UnsafeText on a blocked free text; other faults are
    pydantic's, which `parse_character` turns into InputError. Context of a validation: `denied` is a deny list;
    `stored` says that the texts were screened when they came in (no rule of today may hide a character of yesterday:
    its prompts are screened anyway).
    """

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    gender: choices.Gender
    style: choices.DrawingStyle = "realistic"
    ethnicity: choices.Ethnicity
    age: Annotated[int, Field(ge=MIN_AGE, le=MAX_AGE)]
    age_range: choices.AgeRange | None = None
    skin_color: choices.SkinColor | None = None
    eye_color: choices.EyeColor
    face_shape: choices.FaceShape | None = None
    hair_color: choices.HairColor
    hair_style: choices.HairStyle
    body_type: choices.BodyType
    freckles: choices.Freckles = "none"
    scars: choices.Scars = "none"
    beauty_marks: choices.BeautyMarks = "none"
    piercings: choices.Piercings = "none"
    tattoos: choices.Tattoos = "none"
    default_outfit: OutfitChoice | None = None
    archetype: choices.Archetype | None = None
    personality_traits: Annotated[tuple[choices.Trait, ...], Strict(strict=False), Field(max_length=3)] = ()
    bio: Annotated[str, Field(max_length=MAX_BIO)] = ""
    handle: Annotated[str, Field(max_length=MAX_HANDLE)] = ""
    nsfw_enabled: bool = False
    profile_picture_set_id: choices.ProfilePictureSet | None = None
    base_model: choices.BaseModelId | None = None

    @field_validator("name", "bio", "handle", mode="before")
    @classmethod
    def _free_text_is_safe(cls, value: object, info: ValidationInfo) -> object:
        context = info.context or {}
        if isinstance(value, str) and not context.get("stored"):
            screen(value, field=f"config.{info.field_name}", denied=context.get("denied"))
        return value

    @model_validator(mode="after")
    def _fields_agree(self) -> "WizardConfig":
        female = self.gender == "female"
        _belongs("hair_style", self.hair_style, values(choices.FemaleHairStyle if female else choices.MaleHairStyle))
        _belongs("body_type", self.body_type, values(choices.FemaleBodyType if female else choices.MaleBodyType))
        if len(set(self.personality_traits)) != len(self.personality_traits):
            raise PydanticCustomError("fault", "a trait is named twice", {"field": "personality_traits"})
        if self.age_range is not None:
            low, high = map(int, self.age_range.split("-"))
            if not low <= self.age <= high:
                fault = f"age_range {self.age_range} does not contain age {self.age}"
                raise PydanticCustomError("fault", "{fault}", {"field": "age_range", "fault": fault})
        return self


def _belongs(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PydanticCustomError("choice", "not for this gender", {"field": field, "value": value, "allowed": allowed})


@dataclass(frozen=True)
class CharacterSpec:
    """A character as a person declares it: the id (also the Dagster partition key) and the wizard config."""

    id: str
    config: WizardConfig


def parse_character(data: Mapping[str, object], *, source: str, denied: DenyList | None = None) -> CharacterSpec:
    """A character from `{"id": ..., "config": {...}}`.

    `source` (a file name, "HTTP request") is named in the error; `denied` holds real people whom no text may name.
    Raises InputError with the dotted field, the value, what is allowed and the way out; UnsafeText when a free text, or
    what an error would repeat (an unknown key, a wrong value), is blocked.
    """
    unknown = sorted(str(key) for key in set(data) - {"id", "config"})
    if unknown:
        screen(" ".join(unknown), field="key", denied=denied)
        raise InputError(f"unknown key in {source}.", field=unknown[0], way_out="A character has 'id' and 'config'.")
    config = data.get("config")
    if not isinstance(config, Mapping):
        raise InputError(f"missing or not a mapping in {source}.", field="config", way_out="See examples/characters/.")
    character_id = parse_slug(data.get("id"), source=source, denied=denied)
    try:
        return CharacterSpec(character_id, WizardConfig.model_validate(dict(config), context={"denied": denied}))
    except ValidationError as error:
        raise _translated(error, source, denied) from None


def parse_slug(value: object, *, source: str, denied: DenyList | None = None) -> str:
    """A character id: 2-39 of a-z, 0-9 and '-', not starting with '-'.

    Raises InputError that suggests a valid one, and UnsafeText.
    """
    slug = isinstance(value, str) and SLUG.fullmatch(value) is not None
    code = reason_against(f"id-{_SERIAL.sub('9', str(value))}", denied) if slug else reason_not_to_repeat(value, denied)
    if code:
        raise blocked(value, code, field="id")
    if slug:
        return str(value)
    suggestion = re.sub(r"[^a-z0-9]+", "-", str(value or "").casefold()).strip("-")[:39].rstrip("-")
    hint = f" Try {suggestion!r}." if SLUG.fullmatch(suggestion) else ""
    raise InputError(
        f"{repr(value)[:60]} in {source} is not a valid id.",
        field="id",
        value=repr(value)[:60],
        way_out=f"Use 2 to 39 characters of a-z, 0-9 and '-', starting with a letter or digit.{hint}",
    )


def _translated(error: ValidationError, source: str, denied: DenyList | None) -> WrongValue:
    """The first fault as an error; the fields of the others are named in its way out."""
    faults = sorted(error.errors(), key=lambda fault: fault["loc"][:1] != ("age",))  # the age rule is told first
    unnamed = _unnamed_field(faults, denied)
    if unnamed:
        return unnamed
    first = _fault(faults[0], source, denied)
    others = sorted({_dotted(fault) for fault in faults[1:]} - {first.field})
    if others:
        first.way_out = f"{first.way_out} Also wrong: {', '.join(others)}.".lstrip()
    return first


def _unnamed_field(faults: list[ErrorDetails], denied: DenyList | None) -> UnsafeText | None:
    """The error for unknown fields whose names the screen blocks: none of the names is repeated."""
    names = " ".join(str(fault["loc"][-1]) for fault in faults if fault["type"] == "extra_forbidden")
    code = reason_against(names, denied)
    return blocked(names, code, field="config", fault="an unknown field, whose name is") if code else None


def _fault(fault: ErrorDetails, source: str, denied: DenyList | None) -> WrongValue:
    field, value, kind, context = _dotted(fault), fault["input"], fault["type"], fault.get("ctx", {})
    if kind == "choice":
        told = unknown_choice(field, context["value"], context["allowed"], denied=denied)
        told.message = f"{told.message.rstrip('.')} for this gender."
        return told
    if field == "config.age" and kind == "greater_than_equal":
        return InputError(ADULTS_ONLY, field=field, value=value)
    if kind == "literal_error":
        return unknown_choice(field, value, _allowed(fault["loc"]), denied=denied)
    if kind == "extra_forbidden":
        names = OutfitComposition.model_fields if "pieces" in fault["loc"] else WizardConfig.model_fields
        way_out = f"{did_you_mean(fault['loc'][-1], names)} Choose one of: {', '.join(names)}.".lstrip()
        said = f"unknown field in {source}"
        return unknown_field(value, field=field, inside="config", fault=said, way_out=way_out, denied=denied)
    if kind == "fault":
        return InputError(f"{fault['msg']}.", field=field, way_out="Correct one of the two.")
    if kind == "missing":
        return _missing(field, _allowed(fault["loc"]), source)
    if kind in {"string_too_long", "string_too_short", "too_long"}:
        return InputError(f"{fault['msg']}.", field=field, way_out="Change its length.")
    way_out = f"An adult's age in whole years, {MIN_AGE} to {MAX_AGE}." if field == "config.age" else ""
    return wrong_value(value, field=field, fault=fault["msg"], way_out=way_out, denied=denied)


def _missing(field: str, allowed: tuple[str, ...], source: str) -> InputError:
    way_out = f"Add it: one of {', '.join(allowed)}." if allowed else "Add it."
    return InputError(f"is missing in {source}.", field=field, way_out=way_out)


def _dotted(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    place = (context["field"],) if "field" in context else fault["loc"]
    return ".".join(["config", *(str(part) for part in place if part not in {"named", "pieces"})])


def _allowed(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The ids that the field at `loc` may take; empty when it is not a choice."""
    model: type[BaseModel] = OutfitComposition if "pieces" in loc else WizardConfig
    name = next((part for part in reversed(loc) if part in model.model_fields), "")
    return _literals(model.model_fields[str(name)].annotation) if name else ()


def _literals(annotation: object) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in {Annotated, Union, types.UnionType, tuple}:
        return tuple(value for part in get_args(annotation) for value in _literals(part))
    return ()
