"""From a character and a shot to the words of a prompt or of a training caption.

Belongs here: the order of the words and what is left out when. Does not belong here: the words (`catalogue/*.yaml`),
the judgement of texts (`ryla_assets/domain/safety.py`), model parameters (`workflows/`).

The order: medium, trigger, adult person, hair, eyes, skin, face, marks, body, mood and attitude, expression, posture or
pose, framing and view, outfit, environment, scene, lighting, visual style, free details, quality. Free details are
screened and appended; they never replace the structure. Every part is looked up: an unknown id is an error.
"""

import re
from dataclasses import dataclass
from typing import Final, get_args

from ryla_assets.domain.character import OutfitComposition, WizardConfig
from ryla_assets.domain.choices import unknown_choice
from ryla_assets.domain.errors import InputError, Refused
from ryla_assets.domain.routing import Rating
from ryla_assets.domain.safety import MINOR_SAFETY_NEGATIVE, adult_phrase, screen
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.domain.shots import Shot
from ryla_assets.prompts.catalogue import catalogue

DEFAULT_LIGHTING: Final = "natural-daylight"
DEFAULT_OUTFIT: Final = "jeans"  # plain and covered; when the character names none
BEACHWEAR: Final = frozenset({"swimsuit", "bikini"})  # never on a base image
MAX_DETAILS: Final = 500  # characters, as the bio
TRIGGER: Final = re.compile(r"[A-Za-z][A-Za-z_-]{2,31}")  # no digits: beside a person they read as an age


@dataclass(frozen=True)
class PromptText:
    """Both prompts of one image; the negative travels with the positive, so that nobody forgets it."""

    positive: str
    negative: str


def build_prompt(
    config: WizardConfig,
    shot: Shot,
    *,
    scene: str | None = None,
    environment: str | None = None,
    outfit: str | OutfitComposition | None = None,
    pose: str | None = None,
    lighting: str | None = None,
    style: str | None = None,
    details: str | None = None,
    rating: str = "sfw",
    trigger: str | None = None,
    sfw_base: bool = False,
    denied: DenyList | None = None,
) -> PromptText:
    """The prompt of one shot of one character.

    Arguments win over the shot's own scene, environment, pose and lighting; lighting falls back to the scene's, then to
    daylight; the outfit to the character's default. `style` is a visual style's id. `trigger` is the LoRA's word, first
    in the prompt. `sfw_base` makes the wording of a base image: rating sfw, no body shape, no beachwear.
    `denied` holds real people whom no text may name. What is screened is the whole text, as it is sent.
    Raises InputError (unknown id, too long), UnsafeText (blocked words), Refused (rating not allowed).
    """
    rating = _checked_rating(config, "sfw" if sfw_base else rating)
    scene, environment, pose = scene or shot.scene, environment or shot.environment, pose or shot.pose
    parts = [
        *_appearance(config, shot, with_body=not sfw_base),
        *_manner(config),
        *_bearing(shot, pose),
        *_camera(shot),
        f"wearing {_outfit(config, outfit, sfw_base=sfw_base)}",
        *_place(scene, environment),
        _lighting(shot, scene, lighting),
        catalogue().text("visual_style", style, field="style") if style else "",
        _details(details, denied),
        catalogue().text("quality", config.style),
    ]
    medium, word = catalogue().text("style", config.style), f"{_trigger(trigger, denied)}," if trigger else ""
    text = " ".join(filter(None, (medium, word, ", ".join(filter(None, parts)))))
    screen(text, field="prompt", denied=denied)
    return PromptText(positive=text, negative=negative_prompt(rating))


def build_caption(
    config: WizardConfig,
    shot: Shot,
    trigger: str,
    *,
    outfit: str | OutfitComposition | None = None,
    denied: DenyList | None = None,
) -> str:
    """The caption of one training image: trigger, class word, and what varies from image to image.

    What stays the same (face, eyes, hair, marks) is left out on purpose, so that the LoRA learns it as the trigger's
    meaning. Errors as `build_prompt`.
    """
    person = catalogue().text("gender", config.gender)
    parts = [
        f"{catalogue().text('style', config.style)} {_trigger(trigger, denied)} {person}",
        *_camera(shot),
        *_bearing(shot, shot.pose),
        f"wearing {_outfit(config, outfit, sfw_base=False)}",
        *_place(shot.scene, shot.environment),
        _lighting(shot, shot.scene, None),
    ]
    text = ", ".join(parts)
    screen(text, field="caption", denied=denied)
    return text


def negative_prompt(rating: str) -> str:
    """What no picture of this rating may show; always with the words against drawing minors. Raises InputError."""
    own = catalogue().text("negative", rating, field="rating")
    return ", ".join(filter(None, (MINOR_SAFETY_NEGATIVE, catalogue().text("negative", "all"), own)))


def _checked_rating(config: WizardConfig, rating: str) -> str:
    if rating not in get_args(Rating):
        raise unknown_choice("rating", rating, get_args(Rating))
    if rating == "nsfw" and not config.nsfw_enabled:
        raise Refused(
            "rating nsfw needs the character's nsfw_enabled.", field="rating", value=rating, way_out="Ask for 'sfw'."
        )
    return rating


def _appearance(config: WizardConfig, shot: Shot, *, with_body: bool) -> list[str]:
    """The person. From behind, nothing of the face is named: a named eye colour makes models turn the head."""
    words = catalogue()
    phrase = adult_phrase(config.age, config.gender)
    article = "an" if phrase.startswith("8") else "a"
    parts = [f"{article} {phrase} {words.text('ethnicity', config.ethnicity)}", _hair(config)]
    if shot.view != "back":
        parts.append(words.text("eye_color", config.eye_color))
    if config.skin_color:
        parts.append(words.text("skin_color", config.skin_color))
    if shot.view != "back":
        if config.face_shape:
            parts.append(words.text("face_shape", config.face_shape))
        marks = ("freckles", "scars", "beauty_marks", "piercings")
        parts.extend(words.text(mark, getattr(config, mark)) for mark in marks)
    if shot.framing != "close-up":
        parts.append(words.text("body_type", config.body_type) if with_body else "")
        parts.append(words.text("tattoos", config.tattoos))
    return parts


def _hair(config: WizardConfig) -> str:
    style = catalogue().text("hair_style", config.hair_style)
    if config.hair_style == "bald":
        return style
    return f"{catalogue().text('hair_color', config.hair_color)} {style}"


def _manner(config: WizardConfig) -> list[str]:
    mood = catalogue().text("archetype", config.archetype) if config.archetype else ""
    traits = [catalogue().text("trait", trait) for trait in config.personality_traits]
    return [mood, f"{_listed(traits)} attitude" if traits else ""]


def _bearing(shot: Shot, pose: str | None) -> list[str]:
    """Expression, then pose or posture; an expressive pose brings its own expression."""
    words = catalogue()
    posed = words.entry("pose", pose, field="pose") if pose else None
    own_expression = posed is not None and "expression" in posed.preview
    parts = [posed.text if posed else words.text("posture", shot.posture)]
    if shot.expression and shot.view != "back" and not own_expression:
        parts.insert(0, words.text("expression", shot.expression))
    return parts


def _camera(shot: Shot) -> list[str]:
    return [catalogue().text("framing", shot.framing), catalogue().text("view", shot.view)]


def _outfit(config: WizardConfig, wanted: str | OutfitComposition | None, *, sfw_base: bool) -> str:
    outfit = wanted or config.default_outfit or DEFAULT_OUTFIT
    if isinstance(outfit, OutfitComposition):
        return _composed(outfit)
    return catalogue().text("outfit", DEFAULT_OUTFIT if sfw_base and outfit in BEACHWEAR else outfit, field="outfit")


def _composed(outfit: OutfitComposition) -> str:
    words = catalogue()
    sections = ("top", "bottom", "shoes", "outerwear", "headwear")
    worn = [words.text(name, getattr(outfit, name)) for name in sections if getattr(outfit, name)]
    carried = [words.text("accessory", piece) for piece in outfit.accessories]
    return _listed(worn) + (f" with {_listed(carried)}" if carried else "")


def _place(scene: str | None, environment: str | None) -> list[str]:
    places = (("environment", environment), ("scene", scene))
    return [catalogue().text(section, place, field=section) for section, place in places if place]


def _lighting(shot: Shot, scene: str | None, wanted: str | None) -> str:
    of_scene = catalogue().entry("scene", scene, field="scene").lighting if scene else None
    return catalogue().text("lighting", wanted or shot.lighting or of_scene or DEFAULT_LIGHTING, field="lighting")


def _details(details: str | None, denied: DenyList | None) -> str:
    text = " ".join((details or "").split()).strip(" ,.")
    if len(text) > MAX_DETAILS:
        raise InputError(f"longer than {MAX_DETAILS} characters.", field="details", way_out="Shorten it.")
    screen(text, field="details", denied=denied)
    return text


def _trigger(trigger: str, denied: DenyList | None) -> str:
    if not TRIGGER.fullmatch(trigger):
        raise InputError(
            "a trigger is one word.",
            field="trigger",
            way_out="Use 3 to 32 letters, '_' and '-', starting with a letter.",
        )
    screen(trigger, field="trigger", denied=denied)
    return trigger


def _listed(items: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))
