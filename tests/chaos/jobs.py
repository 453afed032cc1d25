"""The jobs that a seed asks for: small pictures, and sometimes a LoRA.

Belongs here: requests that the product's own validation takes. What becomes of them is the plan's business.
"""

from __future__ import annotations

from resources.gpu.job import Job, OutputSpec
from tests.chaos.plan import Plan
from workflows.base_image import base_image
from workflows.requests import ImageRequest

SIDE = 256  # pixels; the smallest that a workflow takes
PROMPT = "photo of a 34 year old woman in a park"


def jobs_of(plan: Plan) -> list[Job]:
    """All jobs of a seed; two characters own them by turns."""
    pictures = plan.jobs - plan.training
    jobs = [_picture(plan.seed, number) for number in range(pictures)]
    return [*jobs, _training(plan.seed)] if plan.training else jobs


def _picture(seed: int, number: int) -> Job:
    count = 2 if number % 4 == 3 else 1
    names = [f"chaos-{number}-{part}" for part in range(count)]
    requests = [ImageRequest(name, PROMPT, "blurry", seed * 100 + number, SIDE, SIDE) for name in names]
    outputs = tuple(OutputSpec(name, "image", SIDE, SIDE) for name in names)
    graph = base_image("zimage-turbo", requests)
    return Job("image", graph, outputs, label=f"picture {number}", owner=f"character-{number % 2}")


def _training(seed: int) -> Job:
    request = {"base_model": "zimage-turbo", "steps": 10 + seed % 5, "rank": 4, "trigger": "chaosx"}
    return Job("training", request, (OutputSpec("chaos-lora", "lora"),), label="lora", owner="character-0")
