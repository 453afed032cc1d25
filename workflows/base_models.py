"""The base models, and the part of a graph that all workflows share: load, encode, sample, save.

Belongs here: which files a base model is made of and the settings it wants. Not identity (`pulid`), pose or LoRA:
those stand between loading and sampling, in the builders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from workflows.errors import WorkflowError
from workflows.graph import Graph, Link
from workflows.requests import MAX_GUIDANCE, MAX_STEPS, ImageRequest, Rating, check_number, check_whole

BaseModelName: TypeAlias = Literal["flux-dev", "zimage-turbo"]

CFG: Final = 1.0  # both models are distilled: cfg above 1 burns the picture and doubles the time
ZIMAGE_SHIFT: Final = 3.0  # ModelSamplingAuraFlow in ComfyUI's own Z-Image-Turbo template


@dataclass(frozen=True, slots=True)
class BaseModel:
    """Files and settings of one base model; `unets` is rating -> file of the same loader class."""

    name: BaseModelName
    unets: Mapping[str, str]
    vae: str
    steps: int
    sampler: str
    scheduler: str
    guidance: float | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The three links that every graph starts from."""

    model: Link
    clip: Link
    vae: Link


BASE_MODELS: Final[Mapping[str, BaseModel]] = MappingProxyType(
    {
        "flux-dev": BaseModel(
            name="flux-dev",
            unets={"sfw": "flux1-dev.safetensors", "nsfw": "flux1-dev-nsfw.safetensors"},
            vae="ae.safetensors",
            steps=20,  # 20-28 is the usual range; 20 as in the original product's flux-base-image graph
            sampler="euler",
            scheduler="simple",
            guidance=3.5,  # FluxGuidance default; 2.5-3.5 for photos
        ),
        "zimage-turbo": BaseModel(
            name="zimage-turbo",
            unets={"sfw": "z_image_turbo_bf16.safetensors"},  # adult content on Z-Image was never verified: Flux only
            vae="ae.safetensors",
            steps=8,  # ComfyUI's template; more steps do not help a turbo model
            sampler="res_multistep",
            scheduler="simple",
            guidance=None,
        ),
    }
)


def base_model_of(name: str, rating: str) -> BaseModel:
    """The base model, if it has an unet for that rating; `WorkflowError` otherwise."""
    if name not in BASE_MODELS:
        raise WorkflowError(
            f"{name!r} is unknown.", field="base_model", value=name, way_out=f"Use {' or '.join(BASE_MODELS)}."
        )
    base = BASE_MODELS[name]
    if rating not in base.unets:
        raise WorkflowError(
            f"{name} has no unet for rating {rating!r}.",
            field="rating",
            value=rating,
            way_out=f"Use rating {' or '.join(base.unets)}, or another base model.",
        )
    return base


def load(graph: Graph, base: BaseModel, rating: Rating) -> Loaded:
    """Add the loaders of `base` for `rating`."""
    unet = graph.shared("UNETLoader", title="Base model", unet_name=base.unets[rating], weight_dtype="default")
    vae = graph.shared("VAELoader", title="VAE", vae_name=base.vae)
    if base.name == "flux-dev":
        clip = graph.shared(
            "DualCLIPLoader",
            title="Text encoders",
            clip_name1="clip_l.safetensors",
            clip_name2="t5xxl_fp16.safetensors",
            type="flux",
        )
        return Loaded(model=unet[0], clip=clip[0], vae=vae[0])
    clip = graph.shared("CLIPLoader", title="Text encoder", clip_name="qwen_3_4b.safetensors", type="lumina2")
    return Loaded(model=unet[0], clip=clip[0], vae=vae[0])


def encode(graph: Graph, base: BaseModel, clip: Link, image: ImageRequest, guidance: float | None) -> tuple[Link, Link]:
    """Add the texts of `image`, and return (positive, negative) conditioning."""
    positive = graph.shared("CLIPTextEncode", title="Prompt", text=image.prompt, clip=clip)
    if base.guidance is None:
        negative = graph.shared("ConditioningZeroOut", title="No negative", conditioning=positive[0])
        return positive[0], negative[0]
    strength = base.guidance if guidance is None else float(guidance)
    guided = graph.shared("FluxGuidance", title="Guidance", conditioning=positive[0], guidance=strength)
    negative = graph.shared("CLIPTextEncode", title="Negative prompt", text=image.negative, clip=clip)
    return guided[0], negative[0]


def sampling(graph: Graph, base: BaseModel, model: Link) -> Link:
    """The model as the sampler wants it: Z-Image with its timestep shift, Flux as it is."""
    if base.name == "zimage-turbo":
        return graph.shared("ModelSamplingAuraFlow", title="Timestep shift", model=model, shift=ZIMAGE_SHIFT)[0]
    return model


def render(
    graph: Graph,
    base: BaseModel,
    image: ImageRequest,
    *,
    model: Link,
    vae: Link,
    conditioning: tuple[Link, Link],
    steps: int | None,
) -> None:
    """Add latent, sampler, decoder and the SaveImage that bears the prefix of `image`."""
    latent = graph.shared("EmptySD3LatentImage", title="Canvas", width=image.width, height=image.height, batch_size=1)
    sampled = graph.add(
        "KSampler",
        title=f"Sample {image.prefix}",
        model=model,
        seed=image.seed,
        steps=base.steps if steps is None else steps,
        cfg=CFG,
        sampler_name=base.sampler,
        scheduler=base.scheduler,
        positive=conditioning[0],
        negative=conditioning[1],
        latent_image=latent[0],
        denoise=1.0,
    )
    pixels = graph.add("VAEDecode", title=f"Decode {image.prefix}", samples=sampled[0], vae=vae)
    graph.add("SaveImage", title=f"Save {image.prefix}", images=pixels[0], filename_prefix=image.prefix)


def check_sampling(base: BaseModel, steps: int | None, guidance: float | None) -> None:
    """Raise `WorkflowError` for steps or guidance that `base` cannot take."""
    if steps is not None:
        check_whole("steps", steps, 1, MAX_STEPS)
    if guidance is None:
        return
    if base.guidance is None:
        raise WorkflowError(
            f"{base.name} takes no guidance.",
            field="guidance",
            value=guidance,
            way_out="Leave it out or use flux-dev.",
        )
    check_number("guidance", guidance, 0.0, MAX_GUIDANCE)
