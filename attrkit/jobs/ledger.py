"""The ledger: a plan, the shards' files, and a commit for each, on the output file system. Engines only place the work.

A shard is written under a temporary name, synced and renamed; then its commit, which is not synced: if the power fails before
that is on the disk, it is missing or cannot be read, and the shard is done again. Shards are the same bytes whoever computes
them, so that one that is computed twice, or by two runs at once, does no harm.
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

from attrkit.errors import AttrkitError, UsageError
from attrkit.jobs.plan import Plan

PLAN, COMMITS, SUCCESS, FAILED = "plan.json", "_commits", "_SUCCESS", "_failed.jsonl"
_PARTS = "part-*"
_UNFINISHED = ".unfinished"


class Replaced(AttrkitError):
    """The output folder was taken over by another job, or removed."""


@attrs.frozen
class Ledger:
    """That of one output folder."""

    folder: Path

    def plan(self) -> Plan | None:
        """The plan that the folder was begun with; None in a new one. Raises UsageError where it cannot be read."""
        path = self.folder / PLAN
        return Plan.from_json(path.read_text(), os.fspath(path)) if path.is_file() else None

    def begin(self, plan: Plan) -> Plan:
        """Note the plan, or see that it is the one that is there. One of which nothing was done yet is replaced.

        Raises:
            UsageError: it is not the one; says what differs. Or the folder holds something else.
        """
        earlier = self.plan()
        if earlier is None or (_differ(earlier, plan) and not self.begun()):
            earlier = self._note(plan, anew=earlier is not None)
        if _differ(earlier, plan):
            differing = "; ".join(earlier.differences(plan))
            raise UsageError(
                f"{self.folder} was begun with another plan: {differing}. Undo that to go on; or give another output.path, or "
                "remove the folder, to begin anew"
            )
        (self.folder / COMMITS).mkdir(exist_ok=True)
        return earlier

    def begun(self) -> bool:
        """Whether something was done."""
        return any(self.folder.glob(f"{COMMITS}/*.json")) or any(self.folder.glob(_PARTS))

    def _note(self, plan: Plan, *, anew: bool) -> Plan:
        """Put a plan in place, ``anew`` of one that is there, and return what is there: another run may have been first."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"output {os.fspath(self.folder)!r} is no folder: {error.strerror}") from error
        if not anew and (stray := next(self.folder.glob(_PARTS), None)) and self.plan() is None:
            raise UsageError(f"{self.folder} holds {stray.name} and no {PLAN}; choose another output folder, or empty this one")
        written(self.folder / PLAN, [plan.to_json().encode()], anew=anew)
        there = self.plan()
        assert there is not None
        return there

    def commit(self, plan: Plan, shard: int, data: bytes, facts: Mapping[str, Any]) -> None:
        """Put a shard's bytes in place, then say so. Raises Replaced where the folder is no longer this plan's."""
        name = plan.file(shard)
        there = self.plan()
        if there is None or _differ(there, plan):
            raise Replaced(f"{self.folder} was removed, or another job was begun in it, while this one ran")
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
        written(self._place(shard), [(json.dumps(said) + "\n").encode()], synced=False)

    def _place(self, shard: int) -> Path:
        return self.folder / COMMITS / f"{shard:06d}.json"

    def committed(self, shard: int) -> dict[str, Any] | None:
        """What a commit says; None where there is none, or it is not whole."""
        try:
            found: dict[str, Any] = json.loads(self._place(shard).read_bytes())
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return found

    def commits(self, plan: Plan) -> dict[int, dict[str, Any]]:
        """The commits of shards that are there, by number: not those whose file has gone or has another size since."""
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.folder) if entry.name.startswith("part-")}
        each = ((shard, self.committed(shard)) for shard in range(plan.shards) if plan.file(shard) in sizes)
        return {shard: commit for shard, commit in each if commit is not None and commit["bytes"] == sizes[plan.file(shard)]}

    def missing(self, plan: Plan) -> tuple[int, ...]:
        """The shards that are still to be done."""
        there = self.commits(plan)
        return tuple(shard for shard in range(plan.shards) if shard not in there)

    def wrong(self, plan: Plan) -> Iterator[str]:
        """What is not in order, a line each: shards that are missing, and files that are not what was committed."""
        for shard in range(plan.shards):
            file, place, commit = self.folder / plan.file(shard), self._place(shard), self.committed(shard)
            if commit is None:
                yield f"{file.name} is missing; run the job again"
            elif not file.is_file():
                yield f"{file.name} was committed and is gone; run the job again"
            elif digest(file) != commit["sha256"]:
                yield f"{file.name} is not what was committed; remove {COMMITS}/{place.name} and run the job again"
        yield from self._wrong_beside() if self.done() else ()

    def _wrong_beside(self) -> Iterator[str]:
        """What is not in order of the files that stand beside the shards."""
        try:
            known = json.loads((self.folder / SUCCESS).read_bytes())["files"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            yield f"{SUCCESS} cannot be read; remove it and run the job again"
            return
        for file in (self.folder / name for name in known if not name.startswith("part-")):
            if not file.is_file() or digest(file) != known[file.name]:
                yield f"{file.name} is not what was written; remove {SUCCESS} and run the job again"

    def done(self) -> bool:
        """Whether all of it is there, and was said to be."""
        return (self.folder / SUCCESS).is_file()

    def finish(self, plan: Plan, files: Mapping[str, Iterable[bytes]]) -> None:
        """Write the files that stand beside the shards, and say that all is there."""
        for name, pieces in files.items():
            written(self.folder / name, pieces)
        commits = self.commits(plan).values()
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


def _differ(one: Plan, other: Plan) -> bool:
    return one.digest != other.digest or one.rows != other.rows


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written(path: Path, pieces: Iterable[bytes], *, synced: bool = True, anew: bool = True) -> None:
    """Put a file in place: whole, also if power fails where it is ``synced``. One that is there stays where it is not ``anew``.

    What takes this file's place, or what is there, holds the same: another run of the job may be at it too, and may even have
    finished the job and removed what it took for leftovers.
    """
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        if anew:
            unfinished.replace(path)
        else:
            _linked(unfinished, path)
    except FileNotFoundError:
        if not path.exists():
            raise
    finally:
        unfinished.unlink(missing_ok=True)


def _linked(made: Path, path: Path) -> None:
    """Give a file a name that no file has; where one has it, that stays."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            made.replace(path)
