"""`python -m tests.chaos`: run seeds, print what they found, write the chaos table.

    python -m tests.chaos --seeds 5000 --report docs/chaos.md
    python -m tests.chaos --seed 123 -v            one seed again, and where its files lie
    python -m tests.chaos --seeds 20 --broken says_the_key

Time is dilated before anything of the product is imported (see dilation); everything else is in command.
"""

from __future__ import annotations

import os
import sys

from tests.chaos import dilation


def main() -> int:
    """Exit status: 0 where every seed kept the promise."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"  # a process that forks must have no thread
    dilation.install()
    from tests.chaos.command import command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
