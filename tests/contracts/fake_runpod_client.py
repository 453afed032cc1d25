"""What the tests of the fake RunPod share: a plain client of one endpoint, and a request of our wire contract."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx

from tests.fakes.fake_runpod.fake import FakeRunPod

FINGERPRINT = "ab" * 32
ATTEMPT = "00000000-0000-4000-8000-000000000001"
OPEN = contextlib.ExitStack()  # closed by a fixture of each module


class Client:
    """A plain HTTP client of one endpoint."""

    def __init__(self, fake: FakeRunPod, endpoint: str = "ep1") -> None:
        self.fake, self.base = fake, f"{fake.jobs_url}/{endpoint}"
        key = {"authorization": f"Bearer {fake.api_key}"}
        self.http = OPEN.enter_context(httpx.Client(headers=key, trust_env=False, verify=False, timeout=10))

    def post(self, path: str, **envelope: Any) -> httpx.Response:
        """POST an envelope."""
        return self.http.post(f"{self.base}/{path}", json=envelope)

    def get(self, path: str) -> httpx.Response:
        """GET."""
        return self.http.get(f"{self.base}/{path}")

    def run(self, **envelope: Any) -> str:
        """Submit and return the id."""
        answer = self.post("run", **({"input": {"x": 1}} | envelope))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def status(self, job: str) -> Any:
        """The status body."""
        return self.get(f"status/{job}").json()


def wire_request(fake: FakeRunPod, *, attempt: str = ATTEMPT, **changes: Any) -> dict[str, Any]:
    """A request of our contract for two pictures, whose store is the fake's own."""
    manifest = f"{fake.files_url}/results/{FINGERPRINT}/result.json"
    outputs = [
        {
            "name": f"sheet-{view}", "media": "image", "width": 96, "height": 64,
            "put_url": f"{fake.files_url}/results/{FINGERPRINT}/{attempt}/sheet-{view}",
        }
        for view in ("front", "side")
    ]  # fmt: skip
    return {
        "ryla": 1, "fingerprint": FINGERPRINT, "attempt": attempt, "kind": "image", "inputs": [], "outputs": outputs,
        "request": {"9": {"class_type": "SaveImage", "inputs": {}}},
        "manifest_get": manifest, "manifest_put": manifest, **changes,
    }  # fmt: skip


def graph(*prefixes: str, size: int = 256) -> dict[str, Any]:
    """The smallest Flux graph that saves so many pictures of an adult, each of its own seed."""

    def node(class_type: str, **inputs: object) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    made = {
        "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "2": node("DualCLIPLoader", clip_name1="a", clip_name2="b", type="flux"),
        "3": node("CLIPTextEncode", text="a 30 year old woman", clip=["2", 0]),
        "4": node("ConditioningZeroOut", conditioning=["3", 0]),
        "5": node("EmptySD3LatentImage", width=size, height=size, batch_size=1),
        "7": node("VAELoader", vae_name="ae"),
    }
    for number, prefix in enumerate(prefixes):
        made[f"1{number}"] = node(
            "KSampler", model=["1", 0], seed=number, steps=8, cfg=1.0, sampler_name="euler", scheduler="simple",
            positive=["3", 0], negative=["4", 0], latent_image=["5", 0], denoise=1.0,
        )  # fmt: skip
        made[f"2{number}"] = node("VAEDecode", samples=[f"1{number}", 0], vae=["7", 0])
        made[f"3{number}"] = node("SaveImage", images=[f"2{number}", 0], filename_prefix=prefix)
    return made
