"""``attrkit run``: a data set job, begun or gone on with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from attrkit.cli.failures import check_failed
from attrkit.cli.output import emit, json_option, note

if TYPE_CHECKING:
    from attrkit.jobs import Job, JobResult

_SHOWN = 5  # errors


@click.command()
@click.argument("job", metavar="JOB.yaml")
@click.option("--executor", metavar="KIND", help="inline, local, torchrun, ray or an installed one, in place of the job's.")
@click.option("--workers", type=click.IntRange(1), help="How many, in place of the job's.")
@click.option("--status", is_flag=True, help="Say what is there, and compute nothing; exit 1 if shards are missing.")
@click.option("--verify", is_flag=True, help="Compare what is there with its checksums; exit 1 if it is not in order.")
@click.option("--strict", is_flag=True, help="Exit 1 if rows have no attributions.")
@json_option
def run(
    job: str, executor: str | None, workers: int | None, *, status: bool, verify: bool, strict: bool, as_json: bool
) -> None:
    """Explain a data set as JOB.yaml says, or what is missing of it.

    Shards are committed to the output folder as they come. After an interruption, the same command goes on.

    Exit status: 0 all shards are there, 1 some are not, 2 wrong usage or input.
    """
    computing = {"--executor": executor, "--workers": workers}
    _refuse_beside("--verify", verify, {"--status": status, "--strict": strict, **computing})
    _refuse_beside("--status", status, computing)
    from attrkit import jobs

    read = jobs.read_job(job)
    if verify:
        _verified(jobs.verify(read), read, as_json=as_json)
        return
    if status:
        there = jobs.status(read)
        _report(there, as_json=as_json)
        if not there.done or (strict and there.failed):
            check_failed()
        return
    first = os.environ.get("RANK", "0") == "0"  # of several processes that run this, one speaks
    try:
        result = jobs.run(read, executor=_executor(read, executor, workers), show_progress=first)
    except KeyboardInterrupt:
        note(f"interrupted; what is done is kept, and 'attrkit run {job}' goes on with the rest")
        raise
    if first or result.errors:
        _report(result, as_json=as_json)
    if first and not (result.done or result.errors):
        note("other processes that run this job do the rest")
    if result.errors or (strict and result.failed) or (result.done and result.failed and not result.rows):
        check_failed()


def _refuse_beside(name: str, given: bool, others: Mapping[str, Any]) -> None:  # noqa: FBT001 - as click gives it
    """Raise click.UsageError where an option is given, and one of others that would do nothing beside it."""
    if given and (beside := [other for other, value in others.items() if value]):
        raise click.UsageError(f"{' and '.join(beside)} would do nothing beside {name}; give one of them")


def _executor(job: Job, kind: str | None, workers: int | None) -> dict[str, Any]:
    """What is asked for here, else what the job says."""
    given = dict(job.executor) if kind in (None, job.executor["kind"]) else {"kind": kind}
    return given if workers is None else {**given, "workers": workers}


def _verified(wrong: list[str], job: Job, *, as_json: bool) -> None:
    if as_json:
        emit({"folder": str(job.out), "wrong": wrong})
    else:
        for line in wrong:
            click.echo(line)
        if not wrong:
            click.echo(f"{job.out}: every shard is what was committed")
    if wrong:
        check_failed()


def _report(result: JobResult, *, as_json: bool) -> None:
    there = len(result.files)
    if as_json:
        emit({
            "folder": str(result.folder),
            "done": result.done,
            "shards": result.shards,
            "shards_there": there,
            "rows": result.rows,
            "failed": [dict(each) for each in result.failed],
            "errors": {str(shard): error for shard, error in result.errors.items()},
        })  # fmt: skip
        return
    click.echo(f"{result.folder}: {there} of {result.shards} shards, {result.rows} rows")
    if result.failed:
        first = result.failed[0]
        where = "see _failed.jsonl" if result.done else "see _commits/"
        have = "row has" if len(result.failed) == 1 else "rows have"
        note(f"{len(result.failed)} {have} no attributions ({where}); the first is row {first['row']}: {first['error']}")
    for shard, error in list(result.errors.items())[:_SHOWN]:
        note(f"shard {shard}: {error}")
    if len(result.errors) > _SHOWN:
        note(f"and {len(result.errors) - _SHOWN} more shards that failed")
    if result.errors and (left := result.shards - there - len(result.errors)):
        note(f"the job ended there; shards still to be done: {left}")
