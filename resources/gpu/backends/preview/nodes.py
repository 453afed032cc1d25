"""What each ComfyUI node class means here: one small function a class, in a registry.

Belongs here: values that flow along links, and the nodes. Does not belong here: walking a graph (interpreter), drawing
(render), and how much a method drifts (drift).

A node function takes the run's `Context` and its resolved inputs and returns the tuple of its outputs. It raises
ValueError for a sentence that the interpreter wraps into an ExecutionError with the node's id.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from resources.gpu.backends.preview import lora as lora_files
from resources.gpu.backends.preview.book import IdentityBook
from resources.gpu.backends.preview.drift import lora_drift, reference_drift
from resources.gpu.backends.preview.identity import Identity, mix, person
from resources.gpu.backends.preview.lexicon import Meaning, read
from resources.gpu.backends.preview.look import Look
from resources.gpu.backends.preview.render import render
from resources.images import ImageRejected, decode, pixels_sha256

Inputs = Mapping[str, Any]
Node = Callable[["Context", Inputs], tuple[Any, ...]]
NODES: dict[str, Node] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """What a run may use: uploaded files and LoRAs by name, the book of known pictures, and the lexicon."""

    files: Mapping[str, bytes]
    loras: Mapping[str, bytes]
    book: IdentityBook
    lexicon: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reference:
    """A person whom PuLID is to hold, and how firmly."""

    identity: Identity
    weight: float
    start_at: float
    end_at: float


@dataclass(frozen=True, slots=True)
class Model:
    """A diffusion model: its base, and the identity sources patched into it, in order."""

    base: str
    loras: tuple[tuple[lora_files.LoraPreview, float], ...] = ()
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Conditioning:
    """A prompt text, and whether a ControlNet on it still lacks its VAE."""

    text: str = ""
    lacks_vae: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture on its way; `identity` is who is on it, None where unknown."""

    pixels: Image.Image
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Latent:
    """An empty latent (`width` x `height` pixels, `batch`), and after sampling what is to be drawn on each picture."""

    width: int
    height: int
    batch: int
    drawn: tuple[tuple[Identity, Look], ...] = ()


@dataclass(frozen=True, slots=True)
class Guider:
    """A model with the text that guides it."""

    model: Model
    positive: Conditioning


@dataclass(frozen=True, slots=True)
class Loaded:
    """Something that has been loaded and only needs to be of the right kind: CLIP, VAE, ControlNet, PuLID parts."""

    kind: str
    name: str = field(default="")


def node(name: str) -> Callable[[Node], Node]:
    """Register the function that stands for the ComfyUI class `name`."""

    def register(function: Node) -> Node:
        NODES[name] = function
        return function

    return register


def base_of(file_name: str) -> str:
    """The base model behind a model file's name, as ComfyUI learns it from the file's keys."""
    plain = file_name.lower().replace("_", "").replace("-", "")
    return "zimage-turbo" if "zimage" in plain else "flux-dev" if "flux" in plain else "other"


@node("UNETLoader")
def _unet(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (Model(base_of(str(inputs["unet_name"]))),)


@node("CheckpointLoaderSimple")
def _checkpoint(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    name = str(inputs["ckpt_name"])
    return Model(base_of(name)), Loaded("CLIP", name), Loaded("VAE", name)


def _loader(class_type: str, kind: str) -> None:
    def load(_: Context, inputs: Inputs) -> tuple[Any, ...]:
        return (Loaded(kind, " ".join(str(value) for value in inputs.values())),)

    NODES[class_type] = load


for _class, _kind in {
    "DualCLIPLoader": "CLIP", "CLIPLoader": "CLIP", "VAELoader": "VAE", "VAELoaderKJ": "VAE",
    "ControlNetLoader": "CONTROL_NET",
    "KSamplerSelect": "SAMPLER", "BasicScheduler": "SIGMAS", "PulidFluxModelLoader": "PULIDFLUX",
    "PulidFluxEvaClipLoader": "EVA_CLIP", "PulidFluxInsightFaceLoader": "FACEANALYSIS",
}.items():  # fmt: skip
    _loader(_class, _kind)


@node("CLIPTextEncode")
def _text(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (Conditioning(str(inputs["text"])),)


@node("FluxGuidance")
@node("ConditioningZeroOut")
def _conditioning(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs["conditioning"],)


@node("ModelSamplingFlux")
@node("ModelSamplingAuraFlow")
@node("FixPulidFluxPatch")
def _model(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs["model"],)


@node("EmptySD3LatentImage")
@node("EmptyLatentImage")
def _empty(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (Latent(int(inputs["width"]), int(inputs["height"]), int(inputs["batch_size"])),)


@node("LoadImage")
def _load_image(context: Context, inputs: Inputs) -> tuple[Any, ...]:
    name = str(inputs["image"])
    if name not in context.files:
        raise ValueError(f"Invalid image file: {name}")
    try:
        pixels = decode(context.files[name])
    except ImageRejected as error:
        raise ValueError(f"Invalid image file: {name}: {error}") from error
    return [Picture(pixels, context.book.get(pixels_sha256(pixels)))], Loaded("MASK", name)


@node("ImageScale")
def _scale(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    methods = {"nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "area": 4}
    method = Image.Resampling(methods[str(inputs["upscale_method"])])
    out = []
    for picture in inputs["image"]:
        wide, tall = picture.pixels.size
        width, height = int(inputs["width"]) or wide, int(inputs["height"]) or tall
        box = (0.0, 0.0, float(wide), float(tall))
        if inputs["crop"] == "center":
            share = min(wide / width, tall / height)
            x, y = (wide - width * share) / 2, (tall - height * share) / 2
            box = (x, y, wide - x, tall - y)
        out.append(replace(picture, pixels=picture.pixels.resize((width, height), method, box=box)))
    return (out,)


@node("LoraLoader")
def _lora(context: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (*_lora_model(context, inputs), inputs["clip"])


@node("LoraLoaderModelOnly")
def _lora_model(context: Context, inputs: Inputs) -> tuple[Any, ...]:
    name, model = str(inputs["lora_name"]), inputs["model"]
    if name not in context.loras:
        raise ValueError(
            f"lora_name {name!r} is not among the LoRAs here: {', '.join(sorted(context.loras)) or 'none'}"
        )
    found = lora_files.read(context.loras[name])
    if found.base_model != model.base:
        return (model,)  # as ComfyUI: "lora key not loaded", and no effect
    return (replace(model, loras=(*model.loras, (found, float(inputs["strength_model"])))),)


@node("ControlNetApplyAdvanced")
def _control(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    lacks = "vae" not in inputs
    return tuple(replace(inputs[name], lacks_vae=lacks or inputs[name].lacks_vae) for name in ("positive", "negative"))


@node("ApplyPulidFlux")
def _pulid(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    model, picture = inputs["model"], inputs["image"][0]
    if model.base != "flux-dev":
        raise ValueError(f"PuLID patches Flux models only; this model is {model.base}")
    if picture.identity is None:
        raise ValueError("unknown reference: the preview only knows faces on pictures that it drew itself")
    weight, start, end = (float(inputs[key]) for key in ("weight", "start_at", "end_at"))
    return (replace(model, reference=Reference(picture.identity, weight, start, end)),)


@node("RandomNoise")
def _noise(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (int(inputs["noise_seed"]),)


@node("BasicGuider")
def _guider(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    return (Guider(inputs["model"], inputs["conditioning"]),)


@node("KSampler")
def _sample(context: Context, inputs: Inputs) -> tuple[Any, ...]:
    if inputs["negative"].lacks_vae:
        raise ValueError("This Controlnet needs a VAE but none was provided")
    return (_sampled(context, inputs["model"], inputs["positive"], int(inputs["seed"]), inputs["latent_image"]),)


@node("SamplerCustomAdvanced")
def _sample_custom(context: Context, inputs: Inputs) -> tuple[Any, ...]:
    guider: Guider = inputs["guider"]
    latent = _sampled(context, guider.model, guider.positive, inputs["noise"], inputs["latent_image"])
    return latent, latent


@node("VAEDecode")
def _decode(_: Context, inputs: Inputs) -> tuple[Any, ...]:
    latent: Latent = inputs["samples"]
    if not latent.drawn:
        raise ValueError("the latent was not sampled: link the output of a sampler")
    return ([Picture(render(who, look, latent.width, latent.height), who) for who, look in latent.drawn],)


def _sampled(context: Context, model: Model, positive: Conditioning, seed: int, latent: Latent) -> Latent:
    if positive.lacks_vae:
        raise ValueError("This Controlnet needs a VAE but none was provided")
    meaning = read(positive.text, context.lexicon)
    seeds = [seed if k == 0 else (seed + k * 0x9E3779B97F4A7C15) % 2**53 for k in range(latent.batch)]
    scene = zlib.crc32(f"{model.base} {positive.text}".encode())
    drawn = tuple((who(model, positive.text, meaning, one), Look(**meaning.look, seed=one ^ scene)) for one in seeds)
    return replace(latent, drawn=drawn)


def who(model: Model, text: str, meaning: Meaning, seed: int) -> Identity:
    """The person whom a model draws: a stranger of the text's traits, pulled to each identity source in turn."""
    drawn = person(seed ^ zlib.crc32(model.base.encode()), meaning.traits)
    for found, strength in model.loras:
        triggered = found.trigger.lower() in text.lower()
        drawn = mix(found.identity, drawn, lora_drift(seed, strength, triggered=triggered))
    if held := model.reference:
        drawn = mix(held.identity, drawn, reference_drift(seed, held.weight, held.start_at, held.end_at))
    return drawn
