"""The ledger: a plan, the shards' files, and a commit for each, on the output file system. Engines only place the work.

A shard is written under a temporary name, synced and renamed, then its commit likewise: whatever is killed when, a commit
speaks of a whole file. Shards are the same bytes whoever computes them, so one that is computed twice does no harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs

from attrkit.errors import UsageError
from attrkit.jobs.plan import Plan

PLAN, COMMITS, SUCCESS, FAILED = "plan.json", "_commits", "_SUCCESS", "_failed.jsonl"
_UNFINISHED = ".unfinished"


@attrs.frozen
class Ledger:
    """That of one output folder."""

    folder: Path

    def plan(self) -> Plan | None:
        """The plan that the folder was begun with; None in a new one. Raises UsageError where it cannot be read."""
        path = self.folder / PLAN
        return Plan.from_json(path.read_text(), os.fspath(path)) if path.is_file() else None

    def begin(self, plan: Plan) -> Plan:
        """Note the plan, or see that it is the one that is there.

        Raises:
            UsageError: it is not; says what differs.
        """
        earlier = self.plan()
        if earlier is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            if stray := next(self.folder.glob("part-*"), None):
                raise UsageError(
                    f"{self.folder} holds {stray.name} and no {PLAN}; choose another output folder, or empty this one"
                )
            written(self.folder / PLAN, [plan.to_json().encode()])
            (self.folder / COMMITS).mkdir(exist_ok=True)
            earlier = self.plan()
            assert earlier is not None
        if earlier.digest != plan.digest or earlier.rows != plan.rows:
            differing = "; ".join(earlier.differences(plan))
            raise UsageError(
                f"{self.folder} was begun with another plan: {differing}. Undo that to go on; or give another output.path, or "
                "remove the folder, to begin anew"
            )
        (self.folder / COMMITS).mkdir(exist_ok=True)
        return earlier

    def commit(self, plan: Plan, shard: int, data: bytes, facts: Mapping[str, Any]) -> None:
        """Put a shard's bytes in place, then say so."""
        name = plan.file(shard)
        written(self.folder / name, [data])
        said = {
            "shard": shard,
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "time": time.time(),
            "host": socket.gethostname(),
            **facts,
        }
        written(self._place(shard), [(json.dumps(said) + "\n").encode()])

    def _place(self, shard: int) -> Path:
        return self.folder / COMMITS / f"{shard:06d}.json"

    def committed(self, shard: int) -> dict[str, Any]:
        """What a commit says. Raises UsageError where it cannot be read."""
        place = self._place(shard)
        try:
            found: dict[str, Any] = json.loads(place.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{place} cannot be read: {error}; remove it, and run the job again") from error
        return found

    def missing(self, plan: Plan) -> tuple[int, ...]:
        """The shards without a commit, and those whose file has gone or has another size since."""
        there = {path.name for path in (self.folder / COMMITS).glob("*.json")}
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.folder) if entry.name.startswith("part-")}

        def lacks(shard: int) -> bool:
            if self._place(shard).name not in there or plan.file(shard) not in sizes:
                return True
            return bool(self.committed(shard)["bytes"] != sizes[plan.file(shard)])

        return tuple(filter(lacks, range(plan.shards)))

    def wrong(self, plan: Plan) -> Iterator[str]:
        """What is not in order, a line each: shards that are missing, and files that are not what was committed."""
        for shard in range(plan.shards):
            file, commit = self.folder / plan.file(shard), self._place(shard)
            if not commit.is_file():
                yield f"{file.name} is missing; run the job again"
            elif not file.is_file():
                yield f"{file.name} was committed and is gone; run the job again"
            elif digest(file) != self.committed(shard)["sha256"]:
                yield f"{file.name} is not what was committed; remove {COMMITS}/{commit.name} and run the job again"

    def done(self) -> bool:
        """Whether all of it is there, and was said to be."""
        return (self.folder / SUCCESS).is_file()

    def finish(self, plan: Plan, files: Mapping[str, Iterable[bytes]]) -> None:
        """Write the files that stand beside the shards, and say that all is there."""
        for name, pieces in files.items():
            written(self.folder / name, pieces)
        commits = [self.committed(shard) for shard in range(plan.shards)]
        manifest = {
            "plan": plan.digest,
            "rows": sum(commit["rows"] for commit in commits),
            "failed": sum(len(commit["failed"]) for commit in commits),
            "files": {commit["file"]: commit["sha256"] for commit in commits}
            | {name: digest(self.folder / name) for name in files},
        }
        written(self.folder / SUCCESS, [(json.dumps(manifest, indent=1) + "\n").encode()])
        for left in (*self.folder.glob(f"*{_UNFINISHED}"), *(self.folder / COMMITS).glob(f"*{_UNFINISHED}")):
            left.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written(path: Path, pieces: Iterable[bytes]) -> None:
    """Put a file in place: it appears whole or, after a loss of power, perhaps not at all, which a run sees and mends."""
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
