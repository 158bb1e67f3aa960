"""Running a job: plan, have the missing shards done, and say that all is there."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from attrkit.errors import UsageTypeError, warn
from attrkit.jobs.job import Job, read_job
from attrkit.jobs.ledger import FAILED, Ledger
from attrkit.jobs.work import ShardDone, ShardWork
from attrkit.registry import registry

if TYPE_CHECKING:
    from attrkit.jobs.plan import Plan
    from attrkit.jobs.results import JobResult

JobLike = Job | Mapping[str, Any] | str | os.PathLike[str]


def run(
    job: JobLike,
    *,
    executor: str | Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> JobResult:
    """Explain a data set as a job says, or what is missing of it, and return what came of it.

    Shards are committed to the output folder as they come; when this is interrupted, or a machine is lost, the same call goes
    on with those that are missing.

    Args:
        job: a YAML file, or a mapping of what would stand in it; relative paths are relative to the file, or to the working
            directory.
        executor: where shards are computed, in place of what the job says: ``inline``, ``local``, ``torchrun``, ``ray`` or the
            name of an installed one; or a mapping of ``kind`` and its options.
        show_progress: show a progress bar with an estimate on stderr.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: the job is not valid, or the output folder was begun with another one.
        UnknownName: there is no such method or executor, or it has no such option.
        MissingExtra: it needs a package that is not installed.
    """
    from attrkit.jobs.results import result_of

    read = read_job(job)
    place, options = _placement(executor if executor is not None else read.executor)
    ledger = Ledger(read.out)
    plan = _begun(read, ledger)
    missing = ledger.missing(plan)
    work = ShardWork(
        shards=missing,
        shards_in_all=plan.shards,
        retries=read.on_error.retries,
        said=read.said,
        folder=os.fspath(read.folder),
        plan=plan.to_json(),
    )
    errors: dict[int, str] = {}
    if missing:
        each = place(work, **options)
        errors, to_the_end = _outcome(_shown(each, plan, missing) if show_progress else each)
        if to_the_end and not place.shares:
            lost = f"executor {place.name!r} ended, and said nothing of this shard; run the job again, and tell its author"
            errors = dict.fromkeys(ledger.missing(plan), lost) | errors
    if not ledger.done() or missing:
        _finished(ledger, plan)
    result = result_of(read.out, errors)
    for text in result.warnings if missing else ():
        warn(text)
    return result


def _outcome(each: Iterable[ShardDone]) -> tuple[dict[int, str], bool]:
    """What shards ended in that could not be done, and whether no error was the job's, which ends it."""
    errors = {}
    with _closing(each):
        for done in each:
            if done.error:
                errors[done.shard] = done.error
            if done.ends:
                return errors, False
    return errors, True


def _closing(each: Any) -> Any:
    """That ends a generator's work when no more of it is asked for."""
    return closing(each) if hasattr(each, "close") else nullcontext()


def status(job: JobLike) -> JobResult:
    """What is there of a job, without computing anything. Raises FileNotFoundError where it was not begun."""
    from attrkit.jobs.results import result_of

    return result_of(read_job(job).out)


def verify(job: JobLike) -> list[str]:
    """What is not in order in a job's output folder, read anew and compared with its checksums; nothing where all is.

    Raises:
        FileNotFoundError: it was not begun.
    """
    ledger = Ledger(read_job(job).out)
    if (plan := ledger.plan()) is None:
        raise FileNotFoundError(f"no job was begun in {ledger.folder}: there is no plan.json")
    return list(ledger.wrong(plan))


def _placement(given: str | Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The declared placement of a kind, and its options."""
    if not isinstance(given, str | Mapping) or (isinstance(given, Mapping) and "kind" not in given):
        raise UsageTypeError(f"executor must be the name of one, or a mapping with its kind and options, got {given!r}")
    options = dict(given) if isinstance(given, Mapping) else {"kind": given}
    spec = registry.get("placements", options.pop("kind"))
    return spec, spec.resolve(options)


def _begun(job: Job, ledger: Ledger) -> Plan:
    """The plan, noted in the output folder or found there."""
    from attrkit.jobs.plan import planned
    from attrkit.jobs.reading import open_source
    from attrkit.loading.models import load_model

    earlier = ledger.plan() if ledger.begun() else None  # one of which nothing was done yet is made anew
    source = open_source(job.data, job.folder)
    model = load_model(job.model, job.folder) if earlier is None else None
    return ledger.begin(planned(job, source, model, earlier))


def _finished(ledger: Ledger, plan: Plan) -> None:
    """Write what stands beside the shards, if all of these are there."""
    from attrkit.jobs.index import as_json, index_file, index_pieces
    from attrkit.jobs.results import result_of

    result = result_of(ledger.folder)
    if result.done:
        failed = {FAILED: [as_json(each) for each in result.failed]} if result.failed else {}
        ledger.finish(plan, {index_file(plan.index): index_pieces(plan.index, result.files), **failed})


def _shown(each: Iterable[ShardDone], plan: Plan, missing: tuple[int, ...]) -> Iterator[ShardDone]:
    """The same, with a bar of rows on stderr whose estimate counts this run's rows alone."""
    from attrkit.runner.progress import Bar

    waiting = sum(high - low for low, high in map(plan.bounds, missing))
    label = f"{plan.shards - len(missing)} of {plan.shards} shards there" if len(missing) < plan.shards else "explaining"
    with Bar(total=plan.rows, initial=plan.rows - waiting, desc=label, unit="row", file=sys.stderr) as bar, _closing(each):
        started = time.monotonic()
        for number, done in enumerate(each, 1):
            low, high = plan.bounds(done.shard)
            bar.update(high - low)
            bar.set_postfix_str(f"{number / (time.monotonic() - started):.2g} shards/s")
            yield done
