"""What workers do: draw by the preview's engine or hand out scripted files, and speak both workers' contracts.

Belongs here: our wire request (inputs by URL, files and manifest by PUT) and worker-comfyui's (base64), read on their
own and not by the product's code, so that a misreading shows. Does not belong here: time, queues, billing.
# runpod facts 4 [code]; our own contract is workflows/wire.py's [code]
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.fakes.fake_runpod import pictures

if TYPE_CHECKING:
    import httpx

    from tests.fakes.fake_runpod.world import World

Files = list[tuple[str, str, bytes]]  # output name, media, bytes


class WorkerError(Exception):
    """The worker's own failure: code, sentence, and who may try again."""

    def __init__(self, code: str, message: str, retry: str = "transient") -> None:
        super().__init__(message)
        self.code, self.retry = code, retry


def stored_result(http: httpx.Client, body: dict[str, Any]) -> dict[str, Any] | None:
    """The result that lies in the store for this fingerprint, if a valid one does."""
    answer = http.get(body["manifest_get"])
    if answer.status_code in (403, 404):  # S3 says 403 for a missing key that the signer may not list
        return None
    if answer.status_code != 200:
        raise WorkerError("store", f"GET of the manifest answered {answer.status_code}")
    try:
        found: dict[str, Any] = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("fingerprint") == body["fingerprint"] else None


def scripted(body: Any, contract: str) -> Files:
    """Small files for every output that the request names."""
    if contract == "wire":
        return [_scripted_file(item, body["request"]) for item in body["outputs"]]
    if contract == "comfyui":
        sizes = pictures.saved(_graph(body))
        return [(prefix, "image", pictures.picture(width, height, prefix)) for prefix, width, height in sizes]
    return []


def draw(world: World, body: Any, contract: str) -> Files:
    """Execute the request by the preview's engine, with inputs fetched or decoded as the contract has it."""
    if contract == "comfyui":
        files = {item["name"]: _base64(item["image"]) for item in body.get("images", [])}
        drawn = run_graph(world, _graph(body), files, dict(world.loras))
        return [(prefix, "image", data) for prefix, _, data in drawn]
    found: dict[str, dict[str, bytes]] = {"input": {}, "loras": {}, "dataset": {}}
    for item in body["inputs"]:
        answer = world.http().get(item["url"])
        if answer.status_code != 200:
            raise WorkerError("input", f"input {item['name']} answered {answer.status_code}")
        if hashlib.sha256(answer.content).hexdigest() != item["sha256"]:
            raise WorkerError("input", f"input {item['name']} is not the file that was named")
        found[item["folder"]][item["name"]] = answer.content
    if body["kind"] == "training":
        return [(body["outputs"][0]["name"], "lora", train(world, body["request"], found["dataset"]))]
    drawn = run_graph(world, body["request"], found["input"], found["loras"])
    by_name = {prefix: data for prefix, _, data in reversed(drawn)}
    missing = [item["name"] for item in body["outputs"] if item["name"] not in by_name]
    if missing:
        raise WorkerError("missing_output", f"the graph does not save {', '.join(missing)}", "permanent")
    return [(item["name"], item["media"], by_name[item["name"]]) for item in body["outputs"]]


def deliver(
    http: httpx.Client, body: dict[str, Any], files: Files, made_by: str, load_s: float, exec_s: float
) -> dict[str, Any]:
    """PUT every file, then the manifest, last; returns the manifest."""
    urls = {item["name"]: item["put_url"] for item in body["outputs"]}
    for name, _, data in files:
        _put(http, urls[name], data)
    result = {
        "ryla": 1,
        "fingerprint": body["fingerprint"],
        "attempt": body["attempt"],
        "engine": made_by,
        "files": [
            {"name": name, "media": media, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, media, data in files
        ],
        "load_s": round(load_s, 3),
        "exec_s": round(exec_s, 3),
        "reused": False,
    }
    _put(http, body["manifest_put"], json.dumps(result).encode())
    return result


def tell(http: httpx.Client, body: dict[str, Any], problem: BaseException) -> None:
    """Leave a failure where the result would lie: nothing else tells what became of a pod's work."""
    error, _ = failed(problem, "wire")
    _put(http, body["manifest_put"], json.dumps({"error": error}).encode())


def plain_output(body: Any, files: Files, contract: str) -> Any:
    """The output of worker-comfyui, or an echo for requests of nobody we know.  # runpod facts 4 [code]"""
    if contract == "other":
        return {"echo": body}
    if not files:
        return {"status": "success_no_images", "images": []}
    images = []
    counts: dict[str, int] = {}
    for name, _, data in files:
        counts[name] = counts.get(name, 0) + 1
        filename = f"{name.rpartition('/')[2]}_{counts[name]:05d}_.png"  # its subfolder is not told
        images.append({"filename": filename, "type": "base64", "data": base64.b64encode(data).decode()})
    return {"images": images}


def failure(problem: BaseException) -> dict[str, Any]:
    """Our wire contract's error."""
    code, retry = getattr(problem, "code", "worker_error"), getattr(problem, "retry", "transient")
    return {"code": code, "message": f"{type(problem).__name__}: {problem}", "retry": retry}


def named(engine: str, kind: str) -> str:
    """What a result says made it: scripted workers pass for the real ones."""
    return "preview" if engine == "preview" else "ai-toolkit" if kind == "training" else "comfyui"


def failed(problem: BaseException, contract: str) -> tuple[Any, Any]:
    """(error, output) of a run that raised, as the contract's worker reports it.  # runpod facts 4 [code]"""
    if contract == "comfyui":
        return "Job processing failed", {"details": [f"Workflow execution error: {problem}"]}
    if contract == "wire" and not hasattr(problem, "retry"):
        return {"code": "execution_error", "message": str(problem), "retry": "permanent"}, None
    return failure(problem), None


def run_graph(
    world: World, graph: dict[str, Any], files: dict[str, bytes], loras: dict[str, bytes]
) -> list[tuple[str, int, bytes]]:
    """(prefix, number from 1, PNG) of every picture that the preview draws for a graph."""
    from resources.gpu.backends.preview.book import IdentityBook
    from resources.gpu.backends.preview.interpreter import run_workflow
    from ryla_assets.prompts.lexicon import lexicon

    book = IdentityBook(world.folder / "identities")
    drawn = run_workflow(graph, files=files, loras=loras, book=book, lexicon={**lexicon()})
    return [(image.filename_prefix, image.index + 1, image.png) for image in drawn]


def train(world: World, config: dict[str, Any], dataset: dict[str, bytes]) -> bytes:
    """The LoRA that the preview trains on these pictures."""
    from resources.gpu.backends.preview import lora
    from resources.gpu.backends.preview.book import IdentityBook

    return lora.train(
        list(dataset.values()),
        book=IdentityBook(world.folder / "identities"),
        base_model=config["base_model"],
        trigger=config["trigger"],
        steps=config["steps"],
        rank=config["rank"],
        on_progress=lambda step, steps: None,
    )


def _scripted_file(item: dict[str, Any], request: dict[str, Any]) -> tuple[str, str, bytes]:
    if item["media"] == "lora":
        return item["name"], "lora", pictures.lora(str(request["base_model"]), int(request["steps"]))
    return item["name"], "image", pictures.picture(item["width"], item["height"], item["name"])


def _graph(body: dict[str, Any]) -> dict[str, Any]:
    found = body["workflow"]
    graph: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return graph


def _base64(text: str) -> bytes:
    return base64.b64decode(text.rpartition(",")[2])


def _put(http: httpx.Client, url: str, data: bytes) -> None:
    answer = http.put(url, content=data)
    if answer.status_code not in (200, 201, 204):
        raise WorkerError("store", f"PUT answered {answer.status_code}: {answer.text[:200]}")
