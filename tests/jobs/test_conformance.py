"""The executors of jobs keep the promises of the kit, and faults in one are caught by the check that names them."""

import pytest

import attrkit
from attrkit.testing import conformance
from attrkit.testing.conformance import verdicts
from attrkit.testing.placements import check

test_inline = conformance("inline", kind="placement")
test_local = pytest.mark.slow(conformance("local", kind="placement"))


def loses(work):
    """Shards but the last."""
    yield from map(work.worker(), work.shards[:-1])


def reports_twice(work):
    """Shards, each of which it reports twice."""
    for shard in work.shards:
        done = work.worker()(shard)
        yield done
        yield done


def does_all(work):
    """Shards, also those that are there."""
    yield from map(work.worker(), range(work.shards_in_all))


def gives_up(work):
    """Shards, none of which it begins again."""
    yield from map(work.worker(), work.shards)


def keeps_quiet(work):
    """Shards, of which it does not report those that failed."""
    do, queue = work.worker(), work.queue()
    while (shard := queue.take()) is not None:
        done = queue.settled(do(shard))
        if done is not None and not done.error:
            yield done


FAULTS = [
    (loses, "every_shard_is_done_and_reported_once"),
    (reports_twice, "every_shard_is_done_and_reported_once"),
    (does_all, "what_is_there_is_left_alone"),
    (gives_up, "what_fails_is_begun_again_then_reported"),
    (keeps_quiet, "what_fails_is_begun_again_then_reported"),
]


@pytest.mark.parametrize(("fault", "caught"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_fault_is_caught(folder, fault, caught):
    declared = attrkit.placement(fault.__name__)(fault)
    failed = {verdict.check.name for verdict in verdicts(declared, kind="placement") if verdict.error is not None}
    assert caught in failed
    assert {caught for _, caught in FAULTS} == check.found.keys()
