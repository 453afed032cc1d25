"""The comfyui backend: any ComfyUI server by URL. It makes images; training is others' work.

A job is one prompt, whose id is our attempt's. The server's memory is the truth: `/queue` says what waits and runs,
`/history` how it ended; the WebSocket only moves bars. Nothing is kept here between processes.

What `find` can know. The queue and the history die with the server's process, so "knows neither" means: never arrived,
or arrived and was forgotten. What tells the two apart is a note that `submit` leaves in the server's *temp* folder
before it posts: ComfyUI empties that folder whenever it starts. Note there, prompt unknown: one process has lived all
the while and certainly never got it (or somebody deleted it; either way it will never run). Note gone: a server that
started since cannot say, and nothing of the prompt can still be alive. Then `find` claims no more than that: it gives
the id, `poll` calls it lost, and the ledger holds "lost" where "never arrived" would be a guess.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resources.gpu.backend import (
    NO_AGES,
    Diagnosis,
    Estimate,
    OneEndpoint,
    Pace,
    RemoteOutput,
    RemoteStatus,
    Submission,
)
from resources.gpu.backends.comfyui.client import (
    Link,
    NotReached,
    Queue,
    ask,
    checked_url,
    connected,
    in_words,
    problems_of,
)
from resources.gpu.backends.comfyui.inputs import bring, missing_lora
from resources.gpu.backends.comfyui.progress import Listener
from resources.gpu.backends.comfyui.prompt import classes_of, output_files, prepared
from resources.gpu.backends.comfyui.states import finished
from resources.gpu.errors import BackendUnavailable, InvalidJob, JobLost, OutputRejected
from resources.gpu.job import Job, canonical
from resources.images import MAX_BYTES
from workflows import schema
from workflows.object_info import FILE_FOLDERS, node_specs

ENGINE_VERSION = "1"  # raise it when what is sent for the same job changes pixels
OBJECT_INFO_S = 15.0  # how long the server's lists are believed; asking takes it 0.1 s and up
SETTLE_S = 2.0  # a POST whose answer was lost may still lie in the server's socket that long
IMAGE_EXEC_S = 10.0  # a guess for a bar: 1024 px, 20 steps of Flux on one consumer GPU
TOTAL_BYTES = 256 * 1024 * 1024  # of one job's files; ten 1024 px PNGs are 20 MB
IMAGES_ONLY = "the comfyui backend makes images only"


@dataclass
class ComfyUIBackend(OneEndpoint):
    """Runs image jobs on the ComfyUI server at `url`; `models_dir` is its models folder, if it can be reached here.

    Raises ValueError for a URL that is no server's address.
    """

    url: str
    models_dir: Path | None = None
    name: str = "comfyui"
    render_domain: Literal["preview", "model"] = "model"
    self_run: bool = True
    workers: int = 1  # one server has one queue

    def __post_init__(self) -> None:
        self.url = self.endpoint = checked_url(self.url)
        self._listener = Listener(self.url)
        self._info: tuple[float, dict[str, Any]] | None = None
        self._unsent: set[str] = set()  # attempts whose prompt certainly never left
        self._doubtful: dict[str, float] = {}  # attempts whose POST was not answered -> when (monotonic)
        self._cancelled: set[str] = set()  # taken out of the queue: the server forgets those

    # ---- before anything is sent

    def pace(self) -> Pace:
        """One queue, so one worker: its stages become one graph each, whatever these seconds are."""
        return Pace(image_s=24.0, shared_s=20.0, cold_s=0.0)  # Flux-dev, 28 steps, RTX 4090; loading from a warm disk

    def profile(self, job: Job) -> str:
        """Engine and the graph's model file names; not the address, for the same files give the same picture anywhere.

        What a file holds, and which GPU or torch works on it, no server tells: bit-equal pixels are not promised.
        """
        names = sorted(
            str(value)
            for node in job.request.values()
            if job.kind == "image"
            for key, value in node["inputs"].items()
            if FILE_FOLDERS.get(key) not in (None, "input")
        )
        return f"comfyui/{ENGINE_VERSION}/{hashlib.sha256(canonical(names).encode()).hexdigest()[:12]}"

    def model_files(self) -> dict[str, frozenset[str]]:
        """Folder -> file names that the server lists for the loaders we use (and, under `input`, its pictures)."""
        info = self._object_info()
        ours = {name: info[name] for name in node_specs() if name in info}
        found: dict[str, set[str]] = {}
        for spec in node_specs(ours).values():
            for item in spec.inputs.values():
                if item.folder:
                    found.setdefault(item.folder, set()).update(str(option) for option in item.options)
        return {folder: frozenset(names) for folder, names in found.items()}

    def version(self) -> str:
        """The server's version, as it says."""
        return str((ask(self.url, "/system_stats").get("system") or {}).get("comfyui_version", "unknown"))

    def problems(self, job: Job) -> list[dict[str, Any]]:
        """What this very server would refuse about `job`, by its own object_info and file lists."""
        if job.kind != "image":
            return [_problem("training_not_supported", IMAGES_ONLY, "train with another backend")]
        present = {folder: set(names) for folder, names in self.model_files().items()}
        unlisted = [i.name for i in job.inputs if i.folder == "loras" and i.name not in present.get("loras", ())]
        for item in job.inputs:
            present.setdefault(item.folder, set()).add(item.name)
        info, used = self._object_info(), classes_of(job.request)
        known = {name: info[name] for name in used} if used <= info.keys() else info
        found = [
            {key: getattr(problem, key) for key in ("node_id", "class_type", "type", "message", "details")}
            for problem in schema.validate(job.request, object_info=known, files=present)
        ]
        if self.models_dir is None:
            found += [_problem("lora_not_on_server", "LoRA not on the server", missing_lora(n)) for n in unlisted]
        return found

    def estimate(self, job: Job) -> Estimate:
        """Own hardware costs nothing here."""
        return Estimate(usd=0.0, most_usd=0.0, exec_s=IMAGE_EXEC_S * len(job.outputs))

    # ---- one prompt

    async def submit(self, submission: Submission) -> str:
        """Bring the inputs, leave the note (module docstring), post the graph under the attempt's id."""
        job, attempt_id = submission.job, submission.attempt_id
        if job.kind != "image":
            raise InvalidJob(f"{job.label}: {IMAGES_ONLY}.")
        files = {item: submission.load(item) for item in job.inputs}
        self._unsent.add(attempt_id)
        async with connected(self.url) as link:
            graph = prepared(job.request, attempt_id, await bring(link, files, self.models_dir))
            await link.upload(_note(attempt_id), b"a prompt is about to be posted", place="temp")
            answer = await self._post(link, graph, attempt_id)
            await self._check_answer(link, job, answer, attempt_id)
        self._listener.listen(attempt_id, graph)
        return attempt_id

    async def find(self, attempt_id: str, **_: object) -> str | None:
        """See the module docstring: the id, None for what certainly never arrived, or BackendUnavailable."""
        if attempt_id in self._unsent:
            return None
        async with connected(self.url) as link:
            queue = await link.queue()  # before the history: a prompt goes from there to here, never back
            if attempt_id in queue.running or attempt_id in queue.pending or await link.history(attempt_id):
                return attempt_id
            if time.monotonic() - self._doubtful.get(attempt_id, float("-inf")) < SETTLE_S:
                raise BackendUnavailable(f"{self.url} may still be reading the prompt {attempt_id}.")
            noted = await link.size(_note(attempt_id), place="temp") is not None
        return None if noted else attempt_id

    async def poll(self, remote_ids: Sequence[str], ages_s: Mapping[str, float] = NO_AGES) -> dict[str, RemoteStatus]:  # noqa: ARG002
        """The queue once, and the history of each prompt that is not in it."""
        async with connected(self.url) as link:
            queue = await link.queue()
            return {remote_id: await self._status(link, queue, remote_id) for remote_id in remote_ids}

    async def fetch(self, remote_id: str) -> list[RemoteOutput]:
        """The files that a prompt saved, under the names that the job asked for."""
        async with connected(self.url) as link:
            entry = await link.history(remote_id)
            if entry is None:
                raise JobLost(f"ComfyUI at {self.url} no longer knows the prompt {remote_id}.")
            found, total = [], 0
            for file in output_files(entry, remote_id):
                data = await link.view(file.place, limit=MAX_BYTES)
                if data is None:
                    raise JobLost(f"ComfyUI at {self.url} no longer has the file {file.place['filename']}.")
                found.append(RemoteOutput(file.name, data))
                total += len(data)
                if total > TOTAL_BYTES:
                    raise OutputRejected(f"{remote_id}: more than {TOTAL_BYTES} bytes came back.", code="too_large")
            return found

    async def cancel(self, remote_id: str) -> None:
        """Out of the queue, or interrupted at its next step; other prompts are left alone."""
        async with connected(self.url) as link:
            await link.stop(remote_id)
        self._cancelled.add(remote_id)

    async def diagnose(self, remote_id: str, waited_s: float) -> Diagnosis:  # noqa: ARG002
        """Its place in the queue, and what runs."""
        async with connected(self.url) as link:
            queue = await link.queue()
            status = await self._status(link, queue, remote_id)
        runs = f"{', '.join(queue.running) or 'nothing'} runs, {len(queue.pending)} wait"
        evidence = {"running": list(queue.running), "waiting": len(queue.pending)}
        if remote_id in queue.running:
            heard = self._listener.heard(remote_id)
            text = f"ComfyUI at {self.url} works on it: {(heard and heard.words()) or 'no node named yet'}; {runs}."
        elif remote_id in queue.pending:
            place = list(queue.pending).index(remote_id) + 1
            text = f"It is number {place} in the queue of ComfyUI at {self.url}; {runs}."
        else:
            text = f"ComfyUI at {self.url} says {status.state}{': ' + status.error if status.error else ''}; {runs}."
        return Diagnosis(code=status.state, text=text, evidence=evidence)

    # ---- parts

    async def _post(self, link: Link, graph: Mapping[str, Any], attempt_id: str) -> dict[str, Any]:
        """POST it, keeping what is known of its fate."""
        self._unsent.discard(attempt_id)
        try:
            return await link.send(graph, attempt_id)
        except InvalidJob:
            raise
        except NotReached:
            self._unsent.add(attempt_id)
            raise
        except BaseException:
            self._doubtful[attempt_id] = time.monotonic()
            raise

    async def _check_answer(self, link: Link, job: Job, answer: Mapping[str, Any], attempt_id: str) -> None:
        """Refuse what ComfyUI took in part, or under another id; what it took is stopped first.

        If stopping fails the outcome stays unknown, since then it may still run.
        """
        given = str(answer.get("prompt_id"))
        if answer.get("node_errors"):
            await link.stop(given)
            found = problems_of(answer)
            raise InvalidJob(f"{job.label}: ComfyUI would drop a part of the graph: {in_words(found)}.", problems=found)
        if given != attempt_id:
            await link.stop(given)
            raise InvalidJob(
                f"{job.label}: ComfyUI at {self.url} ignores the prompt_id of a prompt.",
                way_out="Update ComfyUI; 0.13.0 and 0.18.1 were tried.",
            )

    async def _status(self, link: Link, queue: Queue, remote_id: str) -> RemoteStatus:
        if remote_id in queue.running:
            return RemoteStatus(
                "running", progress=self._listener.listen(remote_id, queue.running[remote_id]).fraction()
            )
        if remote_id in queue.pending:
            self._listener.listen(remote_id, queue.pending[remote_id])
            return RemoteStatus("queued")
        entry = await link.history(remote_id)
        self._listener.forget(remote_id)
        if entry is not None:
            return finished(entry)
        if remote_id in self._cancelled:
            return RemoteStatus("cancelled", error="taken out of the queue")
        return RemoteStatus(
            "lost",
            error_code="unknown_job",
            error="ComfyUI knows nothing of it: it was restarted since, or somebody cleared its queue or history",
        )

    def _object_info(self) -> dict[str, Any]:
        now = time.monotonic()
        if self._info is None or now - self._info[0] > OBJECT_INFO_S:
            self._info = (now, ask(self.url, "/object_info"))
        return self._info[1]


def _note(attempt_id: str) -> str:
    return f"ryla-{attempt_id}.txt"


def _problem(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"node_id": None, "class_type": None, "type": kind, "message": message, "details": details}
