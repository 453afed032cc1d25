"""`python -m tests.fakes.fake_runpod --config JSON`: the fake as its own process.

Prints one JSON line with its URLs and key, then works until it is told to end (SIGTERM, SIGINT, or the end of stdin
with --until-eof). Its account lives as long as this process; clients may come and go.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading

from tests.fakes.fake_runpod.config import Config
from tests.fakes.fake_runpod.fake import FakeRunPod


def main() -> int:
    """Serve until the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.fake_runpod")
    parser.add_argument("--config", default="{}", help="JSON: fields of Config; endpoints is a list of objects")
    parser.add_argument("--until-eof", action="store_true", help="end with stdin, so with whoever started it")
    args = parser.parse_args()
    over = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: over.set())
    config = {"speed": 1.0, **json.loads(args.config)}
    with FakeRunPod(config=Config.from_dict(config)) as fake:
        urls = {
            name: getattr(fake, name) for name in ("jobs_url", "control_url", "graphql_url", "admin_url", "api_key")
        }
        print(json.dumps(urls), flush=True)  # noqa: T201  the one line that callers read
        if args.until_eof:
            threading.Thread(target=_until_eof, args=(over,), daemon=True).start()
        over.wait()
    return 0


def _until_eof(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    sys.exit(main())
