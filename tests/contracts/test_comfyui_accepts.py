"""A real ComfyUI runs our graphs, and refuses what our validator refuses.

Runs against the server at COMFYUI_URL, which must hold the files of `models.yaml` (of any weights) and the two LoRAs of
`workflows.examples`; without the variable everything here is skipped.
"""

import io
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.unit.test_schema import MUTATIONS, Mutation, fresh
from workflows.examples import LORA_FILES, POSE_IMAGES, REFERENCE_IMAGE, examples, option_examples
from workflows.models import model_files
from workflows.poses.picture import pose_picture
from workflows.problems import SILENT_TYPES
from workflows.schema import validate

URL = os.environ.get("COMFYUI_URL", "")
DEADLINE = 300  # seconds for one graph of three pictures, 256 pixels and 2 steps, on a slow CPU
pytestmark = pytest.mark.skipif(not URL, reason="COMFYUI_URL is not set")


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    """The server, with the pictures that the examples name."""
    with httpx.Client(base_url=URL, timeout=60) as client:
        pictures = {
            REFERENCE_IMAGE: pose_picture("front", "standing", "close-up", 256, 256),
            POSE_IMAGES[0]: pose_picture("front", "standing", "medium", 256, 256),
            POSE_IMAGES[1]: pose_picture("side-left", "standing", "medium", 256, 256),
        }
        for name, data in pictures.items():
            answer = client.post("/upload/image", files={"image": (name, data)}, data={"overwrite": "true"})
            assert answer.json()["name"] == name
        yield client


def send(server: httpx.Client, prompt: dict[str, Any]) -> httpx.Response:
    """POST a graph as a client of its own: without a client id, a repeated graph has no outputs."""
    return server.post("/prompt", json={"prompt": prompt, "client_id": uuid.uuid4().hex})


def result(server: httpx.Client, prompt_id: str) -> dict[str, Any]:
    """The finished entry of /history, which is the truth about a run."""
    give_up = time.monotonic() + DEADLINE
    while time.monotonic() < give_up:
        entry: dict[str, Any] | None = server.get(f"/history/{prompt_id}").json().get(prompt_id)
        if entry is not None:
            return entry
        time.sleep(0.2)
    pytest.fail(f"no result within {DEADLINE} s")


def test_server_has_what_the_stored_object_info_says(server: httpx.Client) -> None:
    """With the server's own object_info every example is valid, too: the stored copy is not out of date."""
    live = server.get("/object_info").json()
    assert [problem for prompt in examples().values() for problem in validate(prompt, object_info=live)] == []


@pytest.mark.parametrize("label", list(examples() | option_examples()))
def test_graph_runs_to_images(server: httpx.Client, label: str) -> None:
    """Every builder's graph is accepted without node errors and makes one decodable picture under each prefix."""
    from PIL import Image

    prefix = f"contract/{uuid.uuid4().hex[:8]}"
    prompt = (examples(size=256, steps=2, prefix=prefix) | option_examples(size=256, steps=2, prefix=prefix))[label]
    answer = send(server, prompt)
    assert answer.status_code == 200, answer.text
    assert answer.json()["node_errors"] == {}
    entry = result(server, answer.json()["prompt_id"])
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    saved = {k: node["inputs"]["filename_prefix"] for k, node in prompt.items() if node["class_type"] == "SaveImage"}
    assert entry["outputs"].keys() == saved.keys()
    digests = set()
    for node_id, wanted in saved.items():
        (file,) = entry["outputs"][node_id]["images"]
        assert f"{file['subfolder']}/{file['filename']}".startswith(f"{wanted}_")
        data = server.get("/view", params=file).raise_for_status().content
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (256, 256)
            digests.add(image.tobytes())
    assert len(digests) == len(saved)


@pytest.mark.parametrize(("mutate", "kind"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS])
def test_server_refuses_what_the_validator_refuses(server: httpx.Client, mutate: Mutation, kind: str) -> None:
    """The server finds the same fault under the same name, or takes the graph where we call the fault silent."""
    prompt = fresh()
    mutate(prompt)
    answer = send(server, prompt)
    body = answer.json()
    if kind in SILENT_TYPES:
        assert answer.status_code == 200, body
        assert body["node_errors"] == {}
        server.post("/queue", json={"delete": [body["prompt_id"]]})
        return
    node_kinds = {error["type"] for node in body["node_errors"].values() for error in node["errors"]}
    if kind == "cycle":  # the server has no name for it: an exception at some node, or a 200 that drops this output
        assert node_kinds <= {"exception_during_inner_validation"}
    else:
        assert kind in node_kinds | {body.get("error", {}).get("type")}, body


def test_models_lie_in_the_folders_we_name(server: httpx.Client) -> None:
    """Each file that a graph names is seen by the server in the folder that models.yaml says."""
    seen = {
        folder: server.get(f"/models/{folder}").json()
        for folder in {model.folder for model in model_files() if model.named} | {"loras"}
    }
    for model in model_files():
        assert not model.named or model.file in seen[model.folder], model.file
    assert set(LORA_FILES.values()) <= set(seen["loras"])
