"""``python -m attrkit.jobs.worker``: a fresh interpreter that does shards as it is told on stdin, one JSON line each."""

from __future__ import annotations

import json
import os
import signal
import sys

import attrs

from attrkit.jobs.work import ShardWork


def main() -> None:
    """Read the work, say ``{}`` when the model is loaded, then do shards until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; whoever started this decides
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the model's author prints is no answer
    try:
        number, _, text = sys.stdin.readline().partition(" ")
        do = ShardWork.from_json(text).worker(int(number))
    except Exception as error:  # noqa: BLE001 - it is said, and ends this process
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        return
    answers.write("{}\n")
    for line in sys.stdin:
        answers.write(json.dumps(attrs.asdict(do(int(line)))) + "\n")


if __name__ == "__main__":
    main()
