"""The values a wizard may choose from, and how a wrong choice is told.

Belongs here: each closed set of ids, once; the catalogue's keys, the validation and the HTTP schema are tested against
these. Does not belong here: what an id says in a prompt (`ryla_assets/prompts/catalogue/`).

Source of the sets: the RYLA wizard. Left out on purpose: youth-coded outfits and wording, body-shape extras,
video and voice fields. `approachable-neighbour` keeps the meaning of an id whose wording was not adult-neutral.
"""

import difflib
from collections.abc import Iterable
from typing import Literal, get_args

from ryla_assets.domain.errors import InputError
from ryla_assets.domain.safety import blocked
from ryla_assets.domain.safety_person import DenyList
from ryla_assets.domain.wrong_values import WrongValue, reason_not_to_repeat

Gender = Literal["female", "male"]
DrawingStyle = Literal["realistic", "anime"]
Ethnicity = Literal["asian", "black", "caucasian", "latina", "arabian", "indian", "mixed"]
AgeRange = Literal["18-25", "26-33", "34-41", "42-50"]
SkinColor = Literal["light", "medium", "tan", "dark"]
EyeColor = Literal["brown", "blue", "green", "hazel", "gray", "amber"]
FaceShape = Literal["oval", "round", "square", "heart", "diamond"]
HairColor = Literal["black", "brown", "blonde", "auburn", "red", "gray", "white"]
FemaleHairStyle = Literal["long", "short", "braids", "ponytail", "bangs", "bun", "wavy"]
MaleHairStyle = Literal["long", "short", "crew-cut", "wavy", "pompadour", "layered-cut", "bald"]
HairStyle = Literal[FemaleHairStyle, MaleHairStyle]
FemaleBodyType = Literal["slim", "athletic", "curvy", "voluptuous"]
MaleBodyType = Literal["slim", "athletic", "muscular", "chubby"]
BodyType = Literal[FemaleBodyType, MaleBodyType]
Freckles = Literal["none", "light", "medium", "heavy"]
Scars = Literal["none", "small", "medium", "large"]
BeautyMarks = Literal["none", "single", "multiple"]
Piercings = Literal["none", "ear", "nose", "lip", "eyebrow", "multiple"]
Tattoos = Literal["none", "small", "medium", "large", "full-body"]
Archetype = Literal[
    "approachable-neighbour",
    "fitness-enthusiast",
    "luxury-lifestyle",
    "mysterious-edgy",
    "playful-fun",
    "professional-boss",
]
Trait = Literal[
    "confident",
    "shy",
    "bold",
    "laid-back",
    "playful",
    "mysterious",
    "caring",
    "independent",
    "adventurous",
    "homebody",
    "ambitious",
    "creative",
    "flirty",
    "classy",
    "edgy",
    "sweet",
]
ProfilePictureSet = Literal["classic-influencer", "professional-model", "natural-beauty"]
BaseModelId = Literal["flux-dev", "zimage-turbo"]

Outfit = Literal[
    # casual
    "casual-streetwear",
    "athleisure",
    "yoga",
    "jeans",
    "tank-top",
    "crop-top",
    "hoodie",
    "sweatpants",
    "denim-jacket",
    "sneakers-leggings",
    # glamour
    "date-night-glam",
    "cocktail-dress",
    "mini-skirt",
    "dress",
    "high-heels-dress",
    "evening-gown",
    "formal-attire",
    "red-carpet",
    "summer-chic",
    "bodycon-dress",
    # fantasy, without the two youth-coded ones
    "bunny",
    "cat",
    "maid",
    "nurse",
    "police-officer",
    "princess",
    "superhero",
    "witch",
    # beachwear
    "swimsuit",
    "bikini",
]
Top = Literal[
    "t-shirt",
    "blouse",
    "button-down-shirt",
    "turtleneck",
    "knit-sweater",
    "polo-shirt",
    "silk-camisole",
    "ribbed-tank-top",
    "sports-top",
    "sweatshirt",
    "linen-shirt",
    "tailored-vest",
]
Bottom = Literal[
    "blue-jeans",
    "black-jeans",
    "chinos",
    "tailored-trousers",
    "leggings",
    "joggers",
    "pencil-skirt",
    "midi-skirt",
    "denim-shorts",
    "linen-trousers",
]
Shoes = Literal[
    "white-sneakers",
    "running-shoes",
    "ankle-boots",
    "loafers",
    "high-heels",
    "sandals",
    "oxford-shoes",
    "hiking-boots",
]
Headwear = Literal["baseball-cap", "beanie", "straw-hat", "fedora", "headscarf", "beret"]
Outerwear = Literal[
    "jean-jacket",
    "leather-jacket",
    "blazer",
    "trench-coat",
    "wool-coat",
    "puffer-jacket",
    "cardigan",
    "bomber-jacket",
]
Accessory = Literal[
    "necklace",
    "hoop-earrings",
    "bracelet",
    "wristwatch",
    "sunglasses",
    "glasses",
    "handbag",
    "backpack",
    "scarf",
    "leather-belt",
]


def values(choice: object) -> tuple[str, ...]:
    """The ids of one of the sets above, in the order they are declared."""
    return get_args(choice)


def did_you_mean(value: object, allowed: Iterable[str]) -> str:
    """The nearest allowed id as a hint, or an empty string when nothing is near."""
    wanted = str(value).strip().casefold().replace("_", "-").replace(" ", "-")
    near = difflib.get_close_matches(wanted, list(allowed), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def unknown_choice(field: str, value: object, allowed: Iterable[str], *, denied: DenyList | None = None) -> WrongValue:
    """The error for an id outside its set: names the field, the value, the nearest id and all ids.

    A value that the screen blocks (with the names in `denied`) is not repeated: the error is an UnsafeText.
    """
    ids = list(allowed)
    choose = f"Choose one of: {', '.join(ids)}."
    code = reason_not_to_repeat(value, denied)
    if code:
        return blocked(value, code, field=field, fault="not a known value, and", way_out=choose)
    way_out = f"{did_you_mean(value, ids)} {choose}".lstrip()
    return InputError(f"{str(value)[:60]!r} is not a known value.", field=field, value=value, way_out=way_out)
