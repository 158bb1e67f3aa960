"""One call of the model: on which replica, whether it may end early, and what its errors mean."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import attrs

from attrkit.errors import ModelError, UsageTypeError, warn
from attrkit.layers import ModuleLayer
from attrkit.problem import Problem
from attrkit.protocols import Tensors
from attrkit.runner.compiling import filled
from attrkit.runner.isolation import Forward
from attrkit.runner.learnt import Learnt
from attrkit.runner.memory import ran_out
from attrkit.runner.packing import Outcome
from attrkit.runner.taps import EnoughError, Tap, stop_after
from attrkit.runner.watch import Watch

Pass = TypeVar("Pass", bound=Callable[..., Outcome])


def where_it_computes(run: Pass) -> Pass:
    """A pass with its tensors on the forward's device, and what it gives on theirs."""

    @wraps(run)
    def moved(self: Calls, problem: Problem, tensors: Tensors, copies: int, part: slice, **options: Any) -> Outcome:
        device = self.forward.device
        if device is None or (there := problem.on(device)) is problem:
            return run(self, problem, tensors, copies, part, **options)
        found = run(self, there, tuple(t.to(device) for t in tensors), copies, part, **options)
        problem.layers, problem.unsure = there.layers, there.unsure
        return found.on(tensors[0].device)

    return cast("Pass", moved)


@attrs.define
class Calls:
    """Calls a problem's model, in each thread another replica of it."""

    _first: Forward
    grad_options: Mapping[str, Any] = attrs.field(factory=dict)
    compiled: int = 0  # the rows of a pass by torch's compiler; 0 for none
    sizes: dict[ModuleLayer, int] = attrs.field(factory=dict)  # how many tensors each layer of the site passes on
    rows: set[int] = attrs.field(factory=set, init=False)  # how many rows passes had
    _warned: set[str] = attrs.field(factory=set, init=False)
    _taken: threading.local = attrs.field(factory=threading.local, init=False)

    @property
    def learnt(self) -> Learnt:
        """What is known of the model, of which all forwards are replicas."""
        return self._first.learnt

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""
        return self._first.training

    @property
    def forward(self) -> Forward:
        """The one that this thread has taken, else the first."""
        return getattr(self._taken, "forward", self._first)

    @property
    def within(self) -> bool:
        """Whether this thread is at a piece of work, so that what it asks for meanwhile belongs to that."""
        return hasattr(self._taken, "forward")

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Have this thread take a forward that no other piece of work uses meanwhile."""
        if self.within:
            yield
            return
        with self._first.spares.taken() as forward, forward.entered():
            self._taken.forward = forward
            try:
                yield
            except Exception as error:
                if forward.device is not None:
                    error.add_note(f"attrkit: raised on {forward.device}")
                raise
            finally:
                del self._taken.forward

    def call(
        self,
        problem: Problem,
        inputs: Tensors,
        copies: int,
        part: slice,
        taps: Iterable[Tap] = (),
        stop: Iterable[Tap] = (),
        *,
        bare: bool = False,
    ) -> Any:
        """The model's output; None where the pass ends early, after the taps ``stop``, as far as that is known to be safe.

        ``bare`` says that nothing looks at what is within the model, so that it may be compiled.
        """
        args, kwargs = problem.arguments.call(inputs, copies, part)
        rows = copies * (part.stop - part.start)
        self.rows.add(rows)
        forward, learnt, shapes = self.forward, self._first.learnt, self.about(problem)
        if (wanted := list(stop)) and all(self._runs_once(problem, tap.layer) for tap in wanted):
            stop_after(wanted)
        try:
            if shapes in learnt.decides:
                model = self._quickest(rows) if bare and self.compiled else forward
                output = model(*args, **kwargs)
            else:
                with Watch(inputs, (args[len(inputs) :], kwargs)) as watch:
                    output = forward(*args, **kwargs)
                if watch.further_decide:
                    learnt.further[problem.arguments.likeness] = True
                    shapes = self.about(problem)
                learnt.decides[shapes] = watch.decides
        except EnoughError:
            return None
        except (RuntimeError, IndexError, TypeError) as error:
            explained = error if ran_out(error) else _explained(error, problem, inputs)
            if explained is error:
                raise
            raise explained from error
        for tap in taps:
            learnt.calls.setdefault((tap.layer.key, shapes), set()).add(tap.calls)
        return output

    def _quickest(self, rows: int) -> Callable[..., Any]:
        """What calls the model for so many rows: compiled, where that is possible."""
        if self.forward.compiled is None:
            self.warn_once("compiled", "compiled=True: the model cannot be copied, and is not compiled; pass the module itself")
        if self.forward.compiled is None or rows > self.compiled:
            return self.forward
        return filled(self.forward.compiled(), rows, self.compiled)

    def about(self, problem: Problem) -> Any:
        """What passes are alike: all of the arguments that they may depend on, save the values of what moves."""
        shapes = problem.arguments.likeness
        return (shapes, problem.arguments.digest) if shapes in self._first.learnt.further else shapes

    def apart(self, problem: Problem) -> bool:
        """Whether what is known of the model forbids that points share a pass."""
        learnt = self._first.learnt
        return self._first.training or (not learnt.lockstep and learnt.decides.get(self.about(problem), False))

    def _runs_once(self, problem: Problem, layer: ModuleLayer) -> bool:
        """Whether nothing of interest happens at a layer after its next call: in every whole pass there was only one."""
        learnt, shapes = self._first.learnt, self.about(problem)
        known = learnt.calls.get((layer.key, shapes)) == {1} and not learnt.decides.get(shapes, True)
        return (layer.call is not None or known) and not learnt.lockstep

    def ran_short(self, rows: int) -> None:
        """Tell the user, once, that memory ran out."""
        self.warn_once(
            "memory",
            f"memory ran out in a pass over {rows} rows; it is done again in halves, and passes stay as small as these had to "
            "be. internal_batch_size (or perturbations_per_eval) bounds them from the start",
        )

    def warn_once(self, about: str, text: str) -> None:
        """Warn, unless that was said before."""
        if about not in self._warned:
            self._warned.add(about)
            warn(text)


def _explained(error: Exception, problem: Problem, inputs: Tensors) -> Exception:
    """What a forward pass raised, with what it was called with where that may be the reason."""
    for name, given, moved in zip(problem.arguments.names, problem.inputs, inputs, strict=True):
        if moved.is_floating_point() and not given.is_floating_point():
            advice = (
                "use a method that moves the layer itself, like integrated_gradients"
                if problem.layers
                else "attribute to a layer (for tokens, layer= the embedding)"
            )
            return UsageTypeError(
                f"inputs: {name!r} has dtype {given.dtype}, and the model does not take the {moved.dtype} between it and the "
                f"baseline; {advice}, or use a method that replaces whole values, like feature_ablation"
            )
    if type(error) is not RuntimeError:  # what a model raises itself, and running out of memory, is the caller's to see
        return error
    pairs = zip(problem.arguments.names, problem.inputs, strict=True)
    called = ", ".join(f"{name} of shape {tuple(t.shape)}, {t.dtype}, on {t.device}" for name, t in pairs)
    return ModelError(f"the model raised: {error}\nIt was called with {called}; check inputs against what it expects")
