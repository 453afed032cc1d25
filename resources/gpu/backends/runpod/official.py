"""The contract of runpod-workers/worker-comfyui, 5.0.0 and newer: a graph and base64 pictures in, pictures out.

Source: worker-comfyui 5.8.5, README and handler: `input.workflow`, `input.images[] {name, image}`; `output.images[]
{filename, type: base64 | s3_url, data}`, `output.errors[]`. Nothing else is read there: no URLs, no LoRA files, no
training. Such a worker keeps no result for us to find: what RunPod forgot is gone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.gpu.backend import RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.comfyui.prompt import MAX_FILES, mark_of, prepared
from resources.gpu.backends.runpod.downloads import download
from resources.gpu.backends.runpod.ids import RemoteId
from resources.gpu.backends.runpod.states import failed, judge_images, read_status
from resources.gpu.errors import InvalidJob, JobLost, OutputRejected
from resources.gpu.job import Job
from resources.images import MAX_BYTES

RESULT_BYTES = 7_500_000  # raw: base64 makes them the 10 MB that RunPod takes from an async job
TOTAL_BYTES = 256 * 1024 * 1024  # of one job's files
_SLASH = "~"  # stands for / in a file's name: the worker tells filenames without their subfolders
_MARK = re.compile(r"-a[0-9a-f]{12}(?=_\d{5}_\.)")  # `prompt.mark_of`, before SaveImage's counter
_DATA_URI = re.compile(r"data:[\w/+.-]{0,100};base64,", re.IGNORECASE)


@dataclass(frozen=True)
class OfficialContract:
    """Image jobs on a worker-comfyui endpoint. `inside`: result URLs may name private addresses (a test)."""

    inside: bool = False
    max_result_bytes: int | None = RESULT_BYTES

    def problems(self, job: Job) -> list[tuple[str, str, str]]:
        """It cannot train, and nothing brings it a LoRA."""
        if job.kind != "image":
            return [
                ("training_not_supported", "worker-comfyui makes images only", "set RUNPOD_WORKER=ryla to train there")
            ]
        return [
            (
                "lora_not_supported",
                "worker-comfyui takes no LoRA files",
                f"{item.name} would have to be brought: set RUNPOD_WORKER=ryla, whose worker fetches it by URL",
            )
            for item in job.inputs
            if item.folder == "loras"
        ]

    def payload(self, submission: Submission) -> dict[str, Any]:
        """The graph under this attempt's own filename prefixes, and the pictures that it reads."""
        job = submission.job
        for _, message, details in self.problems(job):
            raise InvalidJob(f"{job.label}: {message}.", way_out=details)
        images = [{"name": item.name, "image": base64.b64encode(submission.load(item)).decode()} for item in job.inputs]
        graph = prepared(job.request, submission.attempt_id, {})
        return {"workflow": _flat(graph), **({"images": images} if images else {})}

    def read(self, body: Mapping[str, Any], job: RemoteId, expected: Sequence[str]) -> RemoteStatus:  # noqa: ARG002
        """A status body; COMPLETED is judged by its pictures."""
        known = read_status(body)
        if known.state != "succeeded":
            return known
        output = body.get("output")
        try:
            names = [_asked_for(item) for item in _pictures(output)]
        except OutputRejected as error:
            return failed(known, error.code, error.message, "transient")
        return judge_images(known, output, expected, names)

    def stored(self, job: RemoteId, attempt_id: str = "") -> RemoteStatus | None:  # noqa: ARG002
        """Nothing of it lies in our store."""
        return None

    def forget(self, job: RemoteId) -> None:
        """Nothing of it lies in our store."""

    def is_of(self, body: Mapping[str, Any], job: RemoteId, attempt_id: str) -> bool:  # noqa: ARG002
        """Its pictures carry the attempt's mark in their names."""
        if read_status(body).state != "succeeded":
            return False
        try:
            names = [str(item["filename"]) for item in _pictures(body.get("output"))]
        except OutputRejected:
            return False
        return bool(names) and all(mark_of(attempt_id) in name for name in names)

    async def outputs(self, body: Mapping[str, Any] | None, job: RemoteId) -> list[RemoteOutput]:
        """Decode or fetch each picture, in order; the same name twice comes back twice, and `accept` refuses it."""
        if body is None:
            raise JobLost(
                f"RunPod no longer has the result of {job.job}: it keeps one for 30 minutes.", code="result_expired"
            )
        found, total = [], 0
        for item in _pictures(body.get("output")):
            name = _asked_for(item)
            data = await self._data(name, item)
            total += len(data)
            if total > TOTAL_BYTES:
                raise OutputRejected(f"{job.job}: more than {TOTAL_BYTES} bytes came back.", code="too_large")
            found.append(RemoteOutput(_MARK.sub("", str(item["filename"])).replace(_SLASH, "/"), data))
        return found

    async def _data(self, name: str, item: Mapping[str, Any]) -> bytes:
        kind, data = item.get("type"), item.get("data")
        if not isinstance(data, str):
            raise OutputRejected(f"{name}: data is {type(data).__name__}, not text.", code="bad_base64")
        if kind == "s3_url":
            return await download(data, name, max_bytes=MAX_BYTES, inside=self.inside)
        if kind != "base64":
            raise OutputRejected(f"{name}: type is {str(kind)[:40]!r}, not base64 or s3_url.", code="wrong_output")
        return decoded(name, data)


def decoded(name: str, data: str) -> bytes:
    """Bytes of a base64 text, with or without a data-URI before it. Raises OutputRejected."""
    prefix = _DATA_URI.match(data)
    text = data[prefix.end() :] if prefix else data
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise OutputRejected(f"{name} has more than {MAX_BYTES} bytes.", code="too_large")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise OutputRejected(f"{name} is not base64 ({error}).", code="bad_base64") from error


def _flat(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with every file in one folder, under a name that still says which it was to be in."""
    found = {}
    for node_id, node in graph.items():
        prefix = node["inputs"].get("filename_prefix")
        named = {"filename_prefix": prefix.replace("/", _SLASH)} if isinstance(prefix, str) else {}
        found[node_id] = {**node, "inputs": {**node["inputs"], **named}}
    return found


def _pictures(output: object) -> list[Mapping[str, Any]]:
    """`output.images`, bounded and checked for shape. Raises OutputRejected."""
    images = output.get("images") if isinstance(output, Mapping) else None
    if images is None:
        return []
    if not isinstance(images, list) or not all(isinstance(item, Mapping) for item in images):
        raise OutputRejected("output.images is no list of pictures.", code="wrong_output")
    if len(images) > MAX_FILES:
        raise OutputRejected(f"{len(images)} files came back; at most {MAX_FILES} are taken.", code="extra_output")
    if bad := [item for item in images if not isinstance(item.get("filename"), str)]:
        raise OutputRejected(f"A picture came back without a filename ({sorted(bad[0])[:5]}).", code="wrong_output")
    return images


def _asked_for(item: Mapping[str, Any]) -> str:
    """The name that the job asked for: without our mark, SaveImage's counter and the suffix."""
    name = _MARK.sub("", str(item["filename"])[:300]).replace(_SLASH, "/")
    return re.sub(r"(_\d{5}_)?\.(png|webp|jpe?g)$", "", name)
