"""The fake as a child process, and its state asked from outside: for tests that kill what talks to it.

Belongs here: starting, asking, ending. What it is asked is in admin.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

ROOT = Path(__file__).resolve().parents[3]


class FakeRunPodProcess:
    """A context manager: `with FakeRunPodProcess({"speed": 20, ...}) as fake: fake.jobs_url ...`."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.config = config or {}
        self.jobs_url = self.control_url = self.graphql_url = self.admin_url = self.api_key = ""
        self._process: subprocess.Popen[str] | None = None
        self._opener = build_opener(ProxyHandler({}))

    def __enter__(self) -> FakeRunPodProcess:
        command = [sys.executable, "-m", "tests.fakes.fake_runpod", "--until-eof", "--config", json.dumps(self.config)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fake did not start: exit status {self._process.wait(10)}")
        for name, value in json.loads(line).items():
            setattr(self, name, value)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            process.stdout.close()

    def state(self) -> dict[str, Any]:
        """accepted, statuses, alive, executions, bill_usd, bill_by_owner, workers, faults, errors."""
        return self._ask("state")

    def tell(self, lever: str, **body: Any) -> dict[str, Any]:
        """advance(seconds), faults(rule), clear, case(case, endpoint), mode, kill-worker, lose, cancel."""
        return self._ask(lever, body)

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """Every job that it ever took on."""
        found: list[dict[str, Any]] = self.state()["accepted"]
        return found

    def alive(self) -> list[str]:
        """Jobs and pods that are not over."""
        found: list[str] = self.state()["alive"]
        return found

    def bill_usd(self) -> float:
        """What it charges so far."""
        return float(self.state()["bill_usd"])

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with self._opener.open(Request(f"{self.admin_url}/{what}", data=data), timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found
