"""The contract of our own worker image: everything by URL, the results in our store (workflows.wire).

A worker puts its files first and `result.json` last, so what RunPod says is one way to hear of a result and the store
is another: a job that RunPod forgot, or whose answer was lost, is found there. Whatever lies there is still a worker's
word: shape, job, size and hash are checked here, and what the files hold by `accept`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resources.gpu.accept import MAX_LORA_BYTES
from resources.gpu.backend import RemoteOutput, RemoteStatus, Submission
from resources.gpu.backends.runpod.failures import tidy
from resources.gpu.backends.runpod.ids import RemoteId
from resources.gpu.backends.runpod.states import failed, read_status
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, OutputRejected
from resources.gpu.job import Job
from resources.images import MAX_BYTES
from resources.storage import ObjectMissing, SigningStore, StorageError
from workflows import wire
from workflows.errors import WireError

TOTAL_BYTES = 2 * MAX_LORA_BYTES
_SIGNED_S = 7 * 86_400.0  # the longest that a presigned URL lives (SigV4)
_SLACK_S = 3600.0  # after its deadlines a worker still has to upload, and clocks differ


@dataclass(frozen=True)
class OurContract:
    """Image and training jobs on endpoints with our image; `engine` is what they are meant to draw with."""

    store: SigningStore
    engine: str  # comfyui or preview: a result of the other one is not what was asked for
    max_result_bytes: int | None = None

    def problems(self, job: Job) -> list[tuple[str, str, str]]:  # noqa: ARG002
        """It takes every kind of job."""
        return []

    def payload(self, submission: Submission) -> dict[str, Any]:
        """The request with presigned URLs that live as long as the attempt may. Raises ObjectMissing for an input."""
        job, limit_s = submission.job, min(_SIGNED_S, submission.queue_limit_s + submission.run_limit_s + _SLACK_S)
        for item in job.inputs:
            if not self.store.has(item.kind, item.sha256):
                raise ObjectMissing(f"{item.folder}/{item.name}: {item.kind} object {item.sha256} is not in the store.")
        names = [spec.name for spec in job.outputs]
        urls = self.store.sign_result(submission.fingerprint, submission.attempt_id, names, seconds=int(limit_s))
        request = wire.WireRequest(
            fingerprint=submission.fingerprint,
            attempt=submission.attempt_id,
            kind=job.kind,
            request=job.request,
            inputs=tuple(
                wire.WireInput(
                    item.folder,
                    item.name,
                    item.sha256,
                    self.store.sign_get(item.kind, item.sha256, seconds=int(limit_s)),
                )
                for item in job.inputs
            ),
            outputs=tuple(
                wire.WireOutput(spec.name, spec.media, spec.width, spec.height, urls.files_put[spec.name])
                for spec in job.outputs
            ),
            manifest_get=urls.manifest_get,
            manifest_put=urls.manifest_put,
        ).as_dict()
        try:
            wire.parse_request(request)
        except WireError as error:
            raise InvalidJob(f"{job.label}: {error}") from error
        return request

    def read(self, body: Mapping[str, Any], job: RemoteId, expected: Sequence[str]) -> RemoteStatus:
        """A status body; COMPLETED is judged by its result, without one the store is left to speak."""
        known = read_status(body)
        output = body.get("output")
        if known.state != "succeeded":
            return known
        if not isinstance(output, dict):
            return failed(known, "result_lost", "COMPLETED without an output, and none in the store", "transient")
        if output.get("files") == []:
            return _incomplete(known, expected)
        try:
            result = wire.parse_result(output)
        except WireError as error:
            return failed(known, "wrong_output", f"its output is not our worker's: {error}", "permanent")
        return self._judged(known, result, job, expected)

    def stored(self, job: RemoteId, attempt_id: str = "") -> RemoteStatus | None:
        """Succeeded, if a result of this very job lies in the store; what it cost nobody can say."""
        result = self._manifest(job.fingerprint)
        if result is None or result.fingerprint != job.fingerprint or attempt_id not in ("", result.attempt):
            return None
        known = RemoteStatus("succeeded", cold_s=result.load_s, exec_s=result.exec_s, cost_usd=None, progress=1.0)
        return self._judged(replace(known, detail={"from_store": True}), result, job, ())

    def forget(self, job: RemoteId) -> None:
        """All of its raw results; a worker that was asked again would return them."""
        self.store.forget_result(job.fingerprint)

    def is_of(self, body: Mapping[str, Any], job: RemoteId, attempt_id: str) -> bool:
        """Its result names fingerprint and attempt; a reused one names whoever made it, not whose job it is."""
        if read_status(body).state != "succeeded" or not isinstance(body.get("output"), dict):
            return False
        try:
            result = wire.parse_result(body["output"])
        except WireError:
            return False
        return (result.fingerprint, result.attempt, result.reused) == (job.fingerprint, attempt_id, False)

    async def outputs(self, body: Mapping[str, Any] | None, job: RemoteId) -> list[RemoteOutput]:
        """Read every file of the result from the store, and hold it to its size and hash."""
        result = await asyncio.to_thread(self._result, body, job)
        if sum(file.bytes for file in result.files) > TOTAL_BYTES:
            raise OutputRejected(f"{job.job}: more than {TOTAL_BYTES} bytes came back.", code="too_large")
        return [RemoteOutput(f.name, await asyncio.to_thread(self._file, job, result, f)) for f in result.files]

    # ---- parts

    def _judged(
        self, known: RemoteStatus, result: wire.WireResult, job: RemoteId, expected: Sequence[str]
    ) -> RemoteStatus:
        if result.fingerprint != job.fingerprint:
            return failed(
                known,
                "wrong_result",
                f"the result of another job came back (fingerprint {result.fingerprint[:12]}..., asked for "
                f"{job.fingerprint[:12]}...)",
                "transient",
            )
        if (result.engine == "preview") != (self.engine == "preview"):
            return failed(
                known,
                "wrong_engine",
                f"it was made by {result.engine}; RUNPOD_ENGINE says {self.engine}",
                "fatal",
            )
        missing = sorted(set(expected) - {file.name for file in result.files})
        if missing:
            return _incomplete(known, missing)
        detail = {**known.detail, "attempt": result.attempt, "load_s": result.load_s, "reused": result.reused}
        return replace(known, detail=detail)

    def _result(self, body: Mapping[str, Any] | None, job: RemoteId) -> wire.WireResult:
        """The result that RunPod tells, or else the store's."""
        output = body.get("output") if body else None
        try:
            result = wire.parse_result(output) if isinstance(output, dict) else self._manifest(job.fingerprint)
        except WireError as error:
            said = f"{job.job}: its output is not our worker's: {tidy(error)}"
            raise OutputRejected(said, code="wrong_output") from error
        if result is None:
            raise JobLost(f"Neither RunPod nor the store has the result of {job}.", code="result_lost")
        if result.fingerprint != job.fingerprint:
            raise OutputRejected(f"{job.job}: the result of another job came back.", code="wrong_result")
        return result

    def _manifest(self, fingerprint: str) -> wire.WireResult | None:
        """What lies in the store; what cannot be read there is none. Raises BackendUnavailable: no answer."""
        try:
            data = self.store.result(fingerprint)
        except StorageError as error:
            raise BackendUnavailable(f"The store does not say whether it has a result: {error}") from error
        try:
            return wire.parse_result(data) if data is not None else None
        except WireError:
            return None

    def _file(self, job: RemoteId, result: wire.WireResult, file: wire.WireFile) -> bytes:
        most = MAX_LORA_BYTES if file.media == "lora" else MAX_BYTES
        if file.bytes > most:
            raise OutputRejected(f"{file.name} has {file.bytes} bytes; at most {most} are taken.", code="too_large")
        try:
            data = self.store.result_file(job.fingerprint, result.attempt, file.name, max_bytes=most)
        except ObjectMissing as error:
            raise JobLost(f"{job.job}: {file.name} is no longer in the store.", code="result_missing") from error
        except StorageError as error:
            raise BackendUnavailable(f"{file.name} cannot be read from the store: {error}") from error
        if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise OutputRejected(
                f"{file.name}: {len(data)} bytes lie in the store, not the {file.bytes} that the worker vouched for.",
                code="wrong_checksum",
            )
        return data


def _incomplete(known: RemoteStatus, missing: Sequence[str]) -> RemoteStatus:
    """A result that lacks files; nothing came back at all where none are named."""
    return failed(known, "missing_output", f"came back without {', '.join(missing) or 'a single file'}", "transient")
