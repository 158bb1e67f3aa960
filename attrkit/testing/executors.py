"""What executors promise: the results of all pieces of work, in order, and nothing of themselves left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from typing import Any

import attrs
import torch
from pluggy import PluginManager
from torch import Tensor

from attrkit import hookspecs
from attrkit.errors import UsageError, UsageTypeError
from attrkit.explaining import explain
from attrkit.hookspecs import PROJECT, hookimpl
from attrkit.installed import State
from attrkit.protocols import Executor, Tensors
from attrkit.registry import registry
from attrkit.specs import MethodSpec
from attrkit.testing.listed import Checks
from attrkit.testing.models import points, seeded, smooth
from attrkit.testing.snapshots import untouched
from attrkit.testing.subject import close

check = Checks()
CHECKS = check.found
_AHEAD = 256  # pieces that may be taken before their turn
_PATIENCE = 5.0  # seconds until a thread that was told to end has ended


@attrs.frozen(eq=False)
class ExecutorSubject:
    """One kind of executor; ``make`` gives a new one, or None where it offers none."""

    make: Callable[[], Any]

    def executor(self) -> Executor:
        """A new one, for a torch module on the CPU."""
        found = self.make()
        if not isinstance(found, Executor):
            raise UsageTypeError(f"expected an executor, with a method run(work, do), got {found!r}")
        return found

    def run(self, work: Any, do: Callable[[Any], Any]) -> list[Any]:
        """All results."""
        return list(self.executor().run(work, do))


def executor_subject(given: Any) -> ExecutorSubject:
    """What is to be checked: a plugin's name, an object with its hook, an executor, or a function that makes one.

    Raises:
        UsageError: there is no such plugin, or it offers no executor.
    """
    if isinstance(given, str):
        for plugin in registry.named(given):
            if registry.load(plugin):
                return executor_subject(registry.manager.get_plugin(plugin.key))
            raise UsageError(f"{plugin.key} is {plugin.state}: {plugin.reason}") from plugin.error
        by_hand = registry.manager.get_plugin(given)
        if by_hand is None:
            known = sorted({plugin.name for plugin in registry.plugins.values() if plugin.state is not State.BLOCKED})
            raise UsageError(f"no plugin {given!r}, whose executor could be checked; plugins: {', '.join(known)}")
        return executor_subject(by_hand)
    if hasattr(given, "attrkit_executor"):
        alone = PluginManager(PROJECT)  # so that the hook is called as in a run, whichever parameters it names, wrappers too
        alone.add_hookspecs(hookspecs)
        alone.register(given)
        return ExecutorSubject(lambda: alone.hook.attrkit_executor(model=seeded(smooth), devices=()))
    if isinstance(given, Executor) and not isinstance(given, type):
        return ExecutorSubject(lambda: given)
    if callable(given):
        return ExecutorSubject(given)
    raise UsageError(f"{given!r} offers no executor: it has no hook attrkit_executor, and no method run(work, do)")


class _FailedError(RuntimeError):
    """What a piece of work ends in."""


def _threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def _ended(before: set[threading.Thread], when: str) -> None:
    until = time.monotonic() + _PATIENCE
    while _threads() - before and time.monotonic() < until:
        time.sleep(0.01)
    left = sorted(thread.name for thread in _threads() - before)
    assert not left, f"{when}, it leaves threads: {', '.join(left)}; shut them down in a finally clause"


@check()
def is_an_executor(s: ExecutorSubject) -> None:
    """It has a method ``run(work, do)``, and is offered for a torch module on the CPU."""
    s.executor()


@check()
def results_are_in_order(s: ExecutorSubject) -> None:
    """Results come in the order of the work, however long each piece takes."""

    def slow(i: int) -> int:
        time.sleep(0.004 * (7 - i % 8))
        return i * i

    found = s.run(range(24), slow)
    assert found == [i * i for i in range(24)], f"24 pieces of work gave results in the order {found}"


@check()
def every_piece_runs_once(s: ExecutorSubject) -> None:
    """No piece of work is left out, and none is done twice."""
    done: list[int] = []

    def note(i: int) -> None:
        done.append(i)

    found = s.run(iter(range(50)), note)
    assert sorted(done) == list(range(50)), f"of 50 pieces of work, {len(set(done))} were done, and {len(done)} in all"
    assert found == [None] * 50, "a result of None is a result"


@check()
def no_work_is_no_result(s: ExecutorSubject) -> None:
    """Without work there are no results, and one piece gives one."""
    assert s.run([], lambda i: i) == [], "no work gave results"
    assert s.run([5], lambda i: i) == [5], "one piece of work did not give one result"


@check()
def is_used_again(s: ExecutorSubject) -> None:
    """One executor does one lot of work after another, and two at once."""
    executor = s.executor()
    for _ in range(3):
        assert list(executor.run(range(5), str)) == ["0", "1", "2", "3", "4"], "the second lot of work gave something else"
    first, second = executor.run(range(6), str), executor.run(range(6, 12), str)
    pairs = list(zip(first, second, strict=True))
    assert pairs == [(str(i), str(i + 6)) for i in range(6)], "two lots of work at once are mixed up"


@check()
def work_is_taken_as_it_is_needed(s: ExecutorSubject) -> None:
    """Work without end is fine: no more of it is taken than a bounded number of pieces ahead of what was asked for."""
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for i in count():
            taken.append(i)
            if i > 100 * _AHEAD:
                raise AssertionError(
                    "takes all of the work before it yields the first results; take it as results are asked for"
                )
            yield i

    results = s.executor().run(endless(), lambda i: i)
    found = list(islice(results, 5))
    _close(results)
    assert found == list(range(5)), f"the first results of endless work are {found}"
    assert len(taken) <= 5 + _AHEAD, f"took {len(taken)} pieces of work where 5 results were asked for"


def _close(results: Any) -> None:
    if hasattr(results, "close"):
        results.close()


@check()
def nothing_runs_before_it_is_asked_for(s: ExecutorSubject) -> None:
    """Results that nobody asks for cost nothing."""
    done: list[int] = []
    results = s.executor().run(range(5), done.append)
    time.sleep(0.02)
    _close(results)
    assert not done, f"{len(done)} pieces of work ran before a result was asked for; make run a generator"


@check()
def errors_come_through(s: ExecutorSubject) -> None:
    """What a piece of work raises is raised where its result is asked for, after the results before it, as it is."""

    def fails(i: int) -> int:
        if i == 3:
            raise _FailedError("piece 3 failed")
        return i

    for expected in (_FailedError, KeyboardInterrupt):
        results = s.executor().run(range(10), fails if expected is _FailedError else _interrupted)
        try:
            list(results)
        except expected as error:
            if expected is _FailedError and str(error) != "piece 3 failed":
                raise AssertionError(f"the error became {error!r}") from error
        except BaseException as error:
            raise AssertionError(f"a piece of work raised {expected.__name__}, what came through is {error!r}") from error
        else:
            raise AssertionError(f"a piece of work raised {expected.__name__}, and nothing came through")


def _interrupted(i: int) -> int:
    if i == 3:
        raise KeyboardInterrupt
    return i


@check()
def results_before_an_error_are_given(s: ExecutorSubject) -> None:
    """The results of pieces before one that fails come first."""

    def fails(i: int) -> int:
        if i == 3:
            raise _FailedError
        return i

    found: list[int] = []
    with suppress(_FailedError):
        for result in s.executor().run(range(10), fails):
            found.append(result)  # noqa: PERF402 - what came before the error counts
    assert found == [0, 1, 2], f"before piece 3 failed, the results were {found}"


@check()
def errors_of_the_work_come_through(s: ExecutorSubject) -> None:
    """What making the next piece of work raises is raised too."""

    def breaks() -> Iterator[int]:
        yield 0
        raise _FailedError("no next piece")

    try:
        s.run(breaks(), lambda i: i)
    except _FailedError:
        return
    raise AssertionError("the work ended in an error, and nothing came through")


@check()
def leaves_no_thread(s: ExecutorSubject) -> None:
    """After the last result, after an error, and where nobody asks for more, no thread is left."""
    before = _threads()
    s.run(range(10), lambda i: i)
    _ended(before, "after the last result")

    def fails(i: int) -> int:
        if i == 2:
            raise _FailedError
        return i

    with suppress(_FailedError):
        s.run(range(10), fails)
    _ended(before, "after an error")
    results = s.executor().run(range(10), lambda i: i)
    next(results)
    _close(results)
    del results
    _ended(before, "when it is closed after the first result")


@check()
def nothing_runs_after_it_is_closed(s: ExecutorSubject) -> None:
    """Once nobody asks for more, no further piece is begun."""
    done: list[int] = []

    def slow(i: int) -> None:
        done.append(i)
        time.sleep(0.005)

    results = s.executor().run(range(100), slow)
    next(results)
    _close(results)
    time.sleep(0.02)
    after = len(done)
    time.sleep(0.05)
    assert len(done) == after, "pieces of work are still begun after the results were closed"


def _sums_of_gradients(problem: Any) -> Tensors:
    """A method with many passes, whose results differ."""
    total: Tensors = problem.zeros()
    for i, gradient in enumerate(problem.grads(problem.lerp(k / 8) for k in range(9))):
        total = tuple(t + (i + 1) * g for t, g in zip(total, gradient, strict=True))
    return total


@check()
def explanations_are_the_same(s: ExecutorSubject) -> None:
    """A method gives with it what it gives without, at inputs and layers, and the model is left alone."""

    class Offered:
        """Offers it to whatever is explained."""

        @hookimpl(tryfirst=True)
        def attrkit_executor(self, model: Any, devices: tuple[str, ...]) -> Any:  # noqa: ARG002 - as the hook is called
            """The executor."""
            used.append(1)
            return s.executor()

    used: list[int] = []
    method = MethodSpec("sums_of_gradients", _sums_of_gradients, baseline="optional", backward_passes="9")

    def values(model: torch.nn.Module, layer: str | None) -> tuple[Tensor, ...]:
        return tuple(explain(model, points(4, 5), method, target=1, layer=layer, internal_batch_size=4).values.values())

    for layer in (None, "2"):
        expected = values(seeded(smooth), layer)
        offered = Offered()
        registry.manager.register(offered, "attrkit.testing's executor")
        try:
            model, x = seeded(smooth), points(4, 5)
            with untouched(model, x):
                found = values(model, layer)
        finally:
            registry.manager.unregister(offered)
        assert used, "it was not asked for"
        close(found, expected)
