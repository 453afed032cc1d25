"""Why a RunPod job does not move, and whether an endpoint can work at all: what is asked to find the verdict.

Belongs here: collecting a case (settings, workers, queue, stock, balance) and how long it has been the same. Not here:
what it means (`verdicts.py`), how it is asked (`resources/runpod_control.py`), and what happens to the job then (the
runner, by policy). The control API may be silent or refuse our key: then the verdict is `unknown`, and stops nobody.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from resources.gpu.backend import Diagnosis
from resources.gpu.backends.runpod.verdicts import IMPOSSIBLE, OF_ONE_ENDPOINT, RULES, Case, Hope, Rule
from resources.gpu.errors import BackendUnavailable, Retry
from resources.runpod.answers import Endpoint, Gpu
from resources.runpod_control import ControlClient

LASTS_S = 180.0  # seen this long without a break, a want of machines is taken for lasting
BREAK_S = 600.0  # nobody looked for so long: whatever was seen before is another story


class Diagnoser:
    """Looks at endpoints for all jobs of the process; answers are shared, so ask as often as you like."""

    def __init__(
        self,
        control: ControlClient,
        *,
        jobs_waiting: Callable[[str], Awaitable[int | None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._jobs_waiting = jobs_waiting
        self._clock = clock
        self._since: dict[str, tuple[str, float, float]] = {}  # endpoint -> verdict, since when, last seen

    async def preflight(self, endpoint_id: str) -> None:
        """Raise BackendUnavailable if nothing that is sent there can run; what is unknown stops nobody.

        ELSEWHERE where only this endpoint is to blame, FATAL where it is the account.
        """
        case = Case(endpoint_id, 0.0, balance=await self._control.balance())
        try:
            case = replace(case, settings=await self._control.endpoint(endpoint_id))
        except BackendUnavailable as error:
            if error.code == "key_refused":
                raise
            case = replace(case, gone=error.code == "not_found")
        for rule in IMPOSSIBLE:
            if rule.when(case):
                words = case.words()
                way_out = f"{rule.command.format(**words)}."
                retry = Retry.ELSEWHERE if rule.code in OF_ONE_ENDPOINT else Retry.FATAL
                raise BackendUnavailable(rule.text.format(**words), code=rule.code, retry=retry, way_out=way_out)

    async def diagnose(
        self, endpoint_id: str, job_id: str, waited_s: float, *, may_fall_back: bool = False
    ) -> Diagnosis:
        """Why that job still waits, after `waited_s` seconds in the queue. Never raises for want of an answer.

        `may_fall_back`: a fallback endpoint would take such jobs, and none is set.
        """
        case = replace(await self._case(endpoint_id, waited_s), may_fall_back=may_fall_back)
        rule = next(rule for rule in RULES if rule.when(case))
        case = replace(case, lasted=self._lasted(endpoint_id, rule))
        lasting = case.never or case.lasted >= LASTS_S
        words = case.words()
        return Diagnosis(
            code=rule.code,
            text=rule.text.format(**words),
            hopeless=rule.hope is Hope.NO or (rule.hope is Hope.UNTIL_IT_LASTS and lasting),
            next_command=f"{rule.command.format(**words)}.",
            evidence={**case.evidence(), "job": job_id},
        )

    def _lasted(self, endpoint_id: str, rule: Rule) -> float:
        """Seconds for which the verdict has been the same; all kinds of want are one."""
        now = self._clock()
        word = "want" if rule.hope is Hope.UNTIL_IT_LASTS else rule.code
        known, since, seen = self._since.get(endpoint_id, (word, now, now))
        if known != word or now - seen > BREAK_S:
            since = now
        self._since[endpoint_id] = (word, since, now)
        return now - since

    async def _case(self, endpoint_id: str, waited_s: float) -> Case:
        case = Case(endpoint_id, waited_s, balance=await self._control.balance())
        try:
            case = replace(case, settings=await self._control.endpoint(endpoint_id))
            case = replace(
                case, workers=await self._control.workers(endpoint_id), queued=await self._queued(endpoint_id)
            )
            if case.settings and case.starved and not case.has("unhealthy"):
                case = await self._with_stock(case, case.settings)
        except BackendUnavailable as error:
            case = replace(case, trouble=error.message.rstrip("."), gone=error.code == "not_found")
        return case

    async def _queued(self, endpoint_id: str) -> int | None:
        try:
            return await self._jobs_waiting(endpoint_id) if self._jobs_waiting else None
        except BackendUnavailable:
            return None

    async def _with_stock(self, case: Case, settings: Endpoint) -> Case:
        """What the catalogue says of the machines that this endpoint may run on."""
        if not settings.pools:
            return case
        found = _levels(settings, await self._gpus(settings, settings.min_cuda, settings.allowed_cuda))
        case = replace(case, levels=found)
        if not found:
            return replace(case, never=True, stock=f"the catalogue has no GPU type in {', '.join(settings.pools)}")
        if any(level != "NONE" for level in found.values()):
            return case
        cuda = settings.min_cuda or ", ".join(settings.allowed_cuda)
        types = f"no {' or '.join(sorted(found))} is free"
        if cuda and any(level != "NONE" for level in _levels(settings, await self._gpus(settings)).values()):
            return replace(case, stock=f"{types} with CUDA {cuda}, which is asked for; with another CUDA some are")
        where = f" in {', '.join(settings.data_centers)}" if settings.data_centers else ""
        return replace(case, stock=f"{types}{where} (pools {', '.join(settings.pools)})")

    async def _gpus(self, settings: Endpoint, min_cuda: str = "", allowed: Sequence[str] = ()) -> list[Gpu]:
        return await self._control.gpus(
            product="SERVERLESS", count=settings.gpu_count, min_cuda=min_cuda, allowed_cuda=() if min_cuda else allowed
        )


def _levels(settings: Endpoint, gpus: Sequence[Gpu]) -> dict[str, str]:
    """GPU type -> its availability where the endpoint may run; a type of unknown stock counts as available."""
    wanted = [gpu for gpu in gpus if gpu.pool in settings.pools and gpu.id not in settings.excluded_types]
    return {gpu.id: _level(settings, gpu) for gpu in wanted}


def _level(settings: Endpoint, gpu: Gpu) -> str:
    if not settings.data_centers or not gpu.data_centers:
        return gpu.availability
    here = [gpu.data_centers.get(place, "NONE") for place in settings.data_centers]
    return next((level for level in here if level != "NONE"), "NONE")
