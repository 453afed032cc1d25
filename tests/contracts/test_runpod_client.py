"""Operations of the jobs client that the backend does not use, against the fake over HTTP: runsync, stream, retry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from resources.gpu.backends.runpod.client import JobsClient
from resources.gpu.errors import BackendUnavailable, InvalidJob, Retry
from tests.fakes.fake_runpod.config import EndpointConfig
from tests.fakes.fake_runpod.fake import FakeRunPod

T = TypeVar("T")
POLICY = {"executionTimeout": 60_000, "ttl": 120_000}


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """An account whose workers take a tenth of a second for a job; its time passes as ours does."""
    endpoint = EndpointConfig("ep1", cold_s=0.05, exec_s=(0.1, 0.1), idle_s=1.0)
    with FakeRunPod([endpoint], speed=1.0) as fake:
        yield fake


def ask(fake: FakeRunPod, questions: Callable[[JobsClient], Awaitable[T]]) -> T:
    """What a client of our own finds out."""

    async def asked() -> T:
        client = JobsClient(fake.jobs_url, fake.api_key)
        try:
            return await questions(client)
        finally:
            await client.aclose()

    return asyncio.run(asked())


async def ended(client: JobsClient, job_id: str) -> dict[str, Any]:
    """Its status, once it is over."""
    while True:
        body = await client.status("ep1", job_id)
        assert body is not None
        if body["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            return body
        await asyncio.sleep(0.02)


def test_runsync_brings_the_result_or_an_id_to_go_on_with(fake: FakeRunPod) -> None:
    """A short job comes back whole; one that takes longer than was waited for is followed by its id."""

    async def talk(client: JobsClient) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        short = await client.runsync("ep1", {"x": 1}, policy=POLICY, wait_s=30.0)
        fake.faults.script("ep1", duration_s=1.5)
        long = await client.runsync("ep1", {"x": 2}, policy=POLICY, wait_s=1.0)
        return short, long, await ended(client, long["id"])

    short, long, end = ask(fake, talk)
    assert (short["status"], short["output"]) == ("COMPLETED", {"echo": {"x": 1}})
    assert long["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert "output" not in long
    assert (end["status"], end["id"]) == ("COMPLETED", long["id"])
    fake.faults.add("runsync", status=400, body={"error": "input is required"})
    with pytest.raises(InvalidJob, match="input is required"):
        ask(fake, lambda client: client.runsync("ep1", {}, policy=POLICY))


def test_stream_gives_what_came_since_the_last_time(fake: FakeRunPod) -> None:
    """Chunks once, then none; a cancelled job ends it, which RunPod's own client waits for in vain."""
    fake.faults.script("ep1", chunks=["one", {"two": 2}])

    async def talk(client: JobsClient) -> list[dict[str, Any] | None]:
        job_id = (await client.run("ep1", {"x": 1}, policy=POLICY)).id
        first = await client.stream("ep1", job_id)
        await ended(client, job_id)
        fake.faults.script("ep1", hang=True)
        other = (await client.run("ep1", {"x": 2}, policy=POLICY)).id
        await client.cancel("ep1", other)
        return [first, await client.stream("ep1", job_id), await client.stream("ep1", other),
                await client.stream("ep1", "no-such-job")]  # fmt: skip

    first, second, cancelled, unknown = ask(fake, talk)
    assert first is not None
    assert [chunk["output"] for chunk in first["stream"]] == ["one", {"two": 2}]
    assert second == {"status": "COMPLETED", "stream": []}
    assert cancelled == {"status": "CANCELLED", "stream": []}
    assert unknown is None


def test_retry_gives_a_failed_job_another_try_and_no_other_one(fake: FakeRunPod) -> None:
    """Under its id; a finished one is refused for good, in RunPod's words."""
    fake.faults.script("ep1", times=1, error="boom")

    async def talk(client: JobsClient) -> tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
        job_id = (await client.run("ep1", {"x": 1}, policy=POLICY)).id
        failed = await ended(client, job_id)
        fake.job(job_id).script.error = None
        again = await client.retry("ep1", job_id)
        done = await ended(client, job_id)
        with pytest.raises(BackendUnavailable, match="only FAILED and TIMED_OUT jobs can be retried") as caught:
            await client.retry("ep1", job_id)
        assert caught.value.retry is Retry.PERMANENT
        assert await client.retry("ep1", "no-such-job") is None
        return job_id, failed, again, done

    job_id, failed, again, done = ask(fake, talk)
    assert (failed["status"], failed["error"]) == ("FAILED", "boom")
    assert again == {"id": job_id, "status": "IN_QUEUE"}
    assert (done["status"], done["output"]) == ("COMPLETED", {"echo": {"x": 1}})
