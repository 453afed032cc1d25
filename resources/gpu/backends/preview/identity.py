"""A person as numbers: what the preview renderer draws, and how persons are made, mixed and averaged.

Belongs here: the parameters of a person, and how a seed and traits determine them. Does not belong here: the tables of
adult ranges and colours (ranges), how a parameter is drawn, and what a picture shows besides the person (look).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from resources.gpu.backends.preview.ranges import (
    AMOUNTS,
    BODY_TYPES,
    DARK_HAIRED,
    ETHNIC_SHAPE,
    ETHNIC_SKIN,
    EYE_COLORS,
    FACE_SHAPES,
    FEMALE_STYLES,
    HAIR_COLORS,
    HAIR_STYLES,
    MALE_STYLES,
    MAX_AGE,
    MIN_AGE,
    PIERCINGS,
    RANGES,
    SKIN_TONES,
    Rgb,
)  # fmt: skip

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that makes one adult person, as numbers: colours are sRGB in 0..1, `hair_style` weighs HAIR_STYLES."""

    female: float
    age: float
    anime: float
    skin: Rgb
    hair: Rgb
    eyes: Rgb
    hair_style: tuple[float, ...]
    piercings: tuple[float, ...]
    build: float
    muscle: float
    freckles: float
    beauty_marks: float
    scars: float
    tattoos: float
    beard: float
    makeup: float
    detail_seed: float
    face_width: float
    jaw: float
    chin_width: float
    temple: float
    cheek: float
    eye_distance: float
    eye_size: float
    eye_open: float
    eye_tilt: float
    brow_weight: float
    brow_height: float
    brow_arch: float
    nose_width: float
    nose_length: float
    nose_height: float
    mouth_width: float
    mouth_height: float
    lip_upper: float
    lip_lower: float
    hairline: float
    part: float
    hair_volume: float
    hair_length: float
    ear_size: float
    asymmetry: float
    mark_x: float
    mark_y: float

    @property
    def style(self) -> str:
        """The hair style with the largest weight."""
        return HAIR_STYLES[int(np.argmax(self.hair_style))]

    @property
    def is_female(self) -> bool:
        """Whether hair, clothes and brows follow the female defaults."""
        return self.female >= 0.5

    def to_vector(self) -> Vector:
        """All parameters in declared order, float32, always `VECTOR_LENGTH` long."""
        return np.array([number for field in fields(self) for number in _flat(getattr(self, field.name))], np.float32)

    @classmethod
    def from_vector(cls, vector: Sequence[float] | Vector) -> Identity:
        """The inverse of `to_vector`; ValueError when the length or a value is not that of an identity."""
        numbers = [float(number) for number in vector]
        if len(numbers) != VECTOR_LENGTH or not np.all(np.isfinite(numbers)):
            raise ValueError(f"an identity vector is {VECTOR_LENGTH} finite numbers, not {len(numbers)}")
        values: dict[str, float | tuple[float, ...]] = {}
        for field in fields(cls):
            size = SIZES.get(field.name)
            taken, numbers = numbers[: size or 1], numbers[size or 1 :]
            values[field.name] = tuple(taken) if size else taken[0]
        return cls(**values)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, float | list[float]]:
        """A JSON-ready mapping of every parameter."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in fields(self)
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Identity:
        """The inverse of `as_dict`; ValueError names the parameters that are missing."""
        missing = [field.name for field in fields(cls) if field.name not in data]
        if missing:
            raise ValueError(f"an identity lacks {', '.join(missing)}")
        return cls.from_vector([number for field in fields(cls) for number in _flat(data[field.name])])


SIZES: Mapping[str, int] = {
    "skin": 3, "hair": 3, "eyes": 3, "hair_style": len(HAIR_STYLES), "piercings": len(PIERCINGS),
}  # fmt: skip
VECTOR_LENGTH = sum(SIZES.get(field.name, 1) for field in fields(Identity))


def _flat(value: object) -> list[float]:
    return [float(number) for number in value] if isinstance(value, (list, tuple)) else [float(value)]  # type: ignore[arg-type]


def mix(a: Identity, b: Identity, t: float) -> Identity:
    """The person a share `t` (0..1) of the way from `a` to `b`."""
    share = min(1.0, max(0.0, t))
    return Identity.from_vector(a.to_vector() * np.float32(1 - share) + b.to_vector() * np.float32(share))


def mean(people: Sequence[Identity]) -> Identity:
    """The average person; ValueError for none."""
    if not people:
        raise ValueError("the average of no identities does not exist: give at least one")
    return Identity.from_vector(np.mean([person.to_vector() for person in people], axis=0))


def person(seed: int, traits: Mapping[str, str]) -> Identity:
    """The adult whom `seed` and `traits` determine.

    Traits may be absent; a value that is not in its list is a ValueError that names trait, value and choices.
    """
    rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, 20260])
    draw = {name: float(rng.random()) for name in (*RANGES, *_EXTRA_DRAWS)}
    female = _choice(traits, "gender", ("female", "male"), draw["gender"]) == "female"
    ethnicity = _choice(traits, "ethnicity", tuple(ETHNIC_SKIN), draw["ethnicity"])
    age = _age(traits, draw["age"])
    skin = _choice(traits, "skin_color", tuple(SKIN_TONES), draw["skin_tone"], ETHNIC_SKIN[ethnicity])
    shape = _choice(traits, "face_shape", tuple(FACE_SHAPES), draw["face_shape"])
    styles = FEMALE_STYLES if female else MALE_STYLES
    style = _choice(traits, "hair_style", HAIR_STYLES, draw["hair_style"], styles)
    body = _choice(traits, "body_type", tuple(BODY_TYPES), draw["body"])
    build, muscle = BODY_TYPES[body]
    return Identity(
        female=float(female),
        age=age,
        anime=float(_choice(traits, "style", ("realistic", "anime"), 0.0) == "anime"),
        skin=_between(SKIN_TONES[skin], draw["skin"]),
        hair=_hair(traits, ethnicity, age, draw),
        eyes=_eyes(traits, ethnicity, draw),
        hair_style=tuple(float(name == style) for name in HAIR_STYLES),
        piercings=_piercings(traits),
        build=build + 0.1 * (draw["build"] - 0.5),
        muscle=muscle,
        freckles=_amount(traits, "freckles", 0.5 if draw["freckles"] > 0.85 and skin == "light" else 0.0),
        beauty_marks=_amount(traits, "beauty_marks", 0.5 if draw["marks"] > 0.7 else 0.0),
        scars=_amount(traits, "scars", 0.0),
        tattoos=_amount(traits, "tattoos", 0.0),
        beard=0.0 if female or draw["beard"] < 0.45 else draw["beard"],
        makeup=draw["makeup"] if female else 0.0,
        detail_seed=round(draw["detail"], 6),
        **_geometry(draw, female=female, shape=shape, ethnicity=ethnicity),
    )


_EXTRA_DRAWS = (
    "gender", "ethnicity", "age", "skin_tone", "face_shape", "hair_style", "body", "skin", "hair_color", "hair",
    "eye_color", "eyes", "build", "freckles", "marks", "beard", "makeup", "detail",
)  # fmt: skip


def _choice(
    traits: Mapping[str, str], key: str, values: tuple[str, ...], draw: float, likely: tuple[str, ...] | None = None
) -> str:
    if key in traits:
        if traits[key] not in values:
            raise ValueError(f"trait {key} is {traits[key]!r}; choose one of {', '.join(dict.fromkeys(values))}")
        return traits[key]
    among = likely or values
    return among[min(int(draw * len(among)), len(among) - 1)]


def _age(traits: Mapping[str, str], draw: float) -> float:
    if "age" not in traits:
        return 25.0 + 25.0 * draw
    if not traits["age"].isdigit() or not MIN_AGE <= int(traits["age"]) <= MAX_AGE:
        raise ValueError(f"trait age is {traits['age']!r}; it must be a whole number from {MIN_AGE} to {MAX_AGE}")
    return float(int(traits["age"]))


def _amount(traits: Mapping[str, str], key: str, default: float) -> float:
    if key not in traits:
        return default
    if traits[key] not in AMOUNTS:
        raise ValueError(f"trait {key} is {traits[key]!r}; choose one of {', '.join(AMOUNTS)}")
    return AMOUNTS[traits[key]]


def _piercings(traits: Mapping[str, str]) -> tuple[float, ...]:
    wanted = _choice(traits, "piercings", ("none", *PIERCINGS, "multiple"), 0.0)
    return tuple(float(wanted in (name, "multiple")) for name in PIERCINGS)


def _between(ends: tuple[Rgb, Rgb], t: float) -> Rgb:
    low, high = np.array(ends[0]), np.array(ends[1])
    red, green, blue = (low * (1 - t) + high * t).tolist()
    return (red, green, blue)


def _hair(traits: Mapping[str, str], ethnicity: str, age: float, draw: Mapping[str, float]) -> Rgb:
    likely = (
        ("black", "black", "brown") if ethnicity in DARK_HAIRED else ("brown", "brown", "blonde", "auburn", "black")
    )
    name = _choice(traits, "hair_color", tuple(HAIR_COLORS), draw["hair_color"], likely)
    color = HAIR_COLORS[name]
    grey = 0.0 if "hair_color" in traits else float(np.clip((age - 45) / 30, 0, 0.85))
    aged = _between((color, HAIR_COLORS["gray"]), grey)
    shade = 0.88 + 0.24 * draw["hair"]
    return (aged[0] * shade, aged[1] * shade, aged[2] * shade)


def _eyes(traits: Mapping[str, str], ethnicity: str, draw: Mapping[str, float]) -> Rgb:
    likely = ("brown", "brown", "hazel") if ethnicity in DARK_HAIRED else ("brown", "blue", "green", "hazel", "gray")
    color = EYE_COLORS[_choice(traits, "eye_color", tuple(EYE_COLORS), draw["eye_color"], likely)]
    shade = 0.9 + 0.2 * draw["eyes"]
    return (color[0] * shade, color[1] * shade, color[2] * shade)


def _geometry(draw: Mapping[str, float], *, female: bool, shape: str, ethnicity: str) -> dict[str, float]:
    """Each parameter of RANGES, stretched towards its ends: faces far from the average are told apart more easily."""
    values = {}
    for name, (low_f, high_f, low_m, high_m) in RANGES.items():
        low, high = (low_f, high_f) if female else (low_m, high_m)
        away = 2 * draw[name] - 1
        part = 0.5 + 0.5 * float(np.sign(away) * np.abs(away) ** 0.28)
        start, stop = FACE_SHAPES[shape].get(name, (0.0, 1.0))
        part = float(np.clip(start + part * (stop - start) + ETHNIC_SHAPE[ethnicity].get(name, 0.0), 0, 1))
        values[name] = low + part * (high - low)
    values["mouth_height"] = min(values["mouth_height"], values["nose_length"] + 0.34)  # no overlong upper lip
    return values
