"""Executing what a problem asks for: streams of passes, propagation by rules, progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from tqdm import tqdm

from attrkit.errors import RulesetError, warn
from attrkit.problem import Problem
from attrkit.propagation import Rewriter, Row, bound
from attrkit.protocols import Executor, Tensors
from attrkit.runner.executors import Serial
from attrkit.runner.packing import Evaluate, Outcome, Packing
from attrkit.runner.passes import Passes
from attrkit.runner.sizing import Sizing
from attrkit.runner.taps import leaf_of
from attrkit.targets import output_tensor


@attrs.frozen
class Fit:
    """How a ruleset fits a model: what governs each operation, what is wrong, and the entries that matched nothing."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    unused: tuple[str, ...]


@attrs.define
class Runner:
    """Runs one attribution. Implements the Runner protocol.

    ``rows`` bounds the rows of one forward pass (None leaves that to attrkit); ``progress`` is what a progress bar on stderr is
    called, empty for none; ``report`` says after a propagation what governed each operation.
    """

    passes: Passes
    rows: int | None = None
    executor: Executor = attrs.field(factory=Serial)
    progress: str = ""
    report: tuple[Row, ...] = ()

    def read(self, problem: Problem, inputs: Tensors) -> Tensors:
        """The site's value for these inputs."""
        return self.passes.read(problem, inputs)

    def values(self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None) -> Iterator[Tensor]:
        """The objective at each value of the site."""

        def evaluate(tensors: Tensors, copies: int, part: slice) -> Outcome:
            return self.passes.value(problem, tensors, copies, part)

        return (outcome.value for outcome in self._stream(problem, points, evaluate, total))

    def grads(
        self, problem: Problem, points: Iterable[Tensors], *, moving_inputs: bool = False, total: int | None = None
    ) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
        """Objective, site value and gradient at each value of the site (or of the inputs, where those move)."""

        def evaluate(tensors: Tensors, copies: int, part: slice) -> Outcome:
            return self.passes.gradient(problem, tensors, copies, part, moving_inputs=moving_inputs)

        return ((o.value, o.at, o.gradient) for o in self._stream(problem, points, evaluate, total))

    def propagate(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensors]:
        """Objective and relevance at the site, for the inputs; one backward pass for each layer of the site."""
        rules = self._bound(problem, ruleset, parameters)
        sites = [attrs.evolve(problem, layers=(layer,)) for layer in problem.layers] or [problem]
        outcomes = [self._propagated(site, rules) for site in sites]
        self.report = tuple(rules.report)
        for line in self._unused(rules):
            warn(line)
        problem.__dict__.setdefault("point", tuple(t for o in outcomes for t in o.at))
        return outcomes[0].value, tuple(t for o in outcomes for t in o.gradient)

    def _propagated(self, problem: Problem, rules: Rewriter) -> Outcome:
        def evaluate(tensors: Tensors, copies: int, part: slice) -> Outcome:
            return self.passes.gradient(problem, tensors, copies, part, moving_inputs=True, rules=rules)

        return next(iter(self._stream(problem, [problem.inputs], evaluate, 1)))

    def fit(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> Fit:
        """What a ruleset would do with the model, found by a forward pass."""
        rules = self._bound(problem, ruleset, parameters)
        output = output_tensor(self._governed(problem, rules))
        problems: tuple[str, ...] = ()
        try:
            rules.audit(output)
        except RulesetError as error:
            problems = error.problems
        return Fit(tuple(rules.report), problems, self._unused(rules))

    def _bound(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> Rewriter:
        rules = bound(ruleset, parameters)
        if rules.binding.needs_plan():
            self._governed(problem, rules)
            rules.plan()
        return rules

    def _governed(self, problem: Problem, rules: Rewriter) -> Any:
        """The model's output for the inputs, with rules in place."""
        forward = self.passes.forward
        with torch.enable_grad(), rules.active(forward.root, forward.guard) as gate:
            inputs = (gate(leaf) if (leaf := leaf_of(t.detach())).requires_grad else t for t in problem.inputs)
            return self.passes.call(problem, tuple(inputs), 1, slice(0, len(problem.arguments)))

    def _unused(self, rules: Rewriter) -> tuple[str, ...]:
        root = self.passes.forward.root
        return tuple(rules.binding.unused([(path, type(m)) for path, m in root.named_modules()] if root else []))

    def _stream(self, problem: Problem, points: Iterable[Tensors], evaluate: Evaluate, total: int | None) -> Iterator[Outcome]:
        n, learnt = len(problem.arguments), self._learnt(problem, evaluate)
        sizing = learnt if self.rows is None else Sizing(n, self.rows, problem.inputs[0].device)
        packing = Packing(n, sizing, learnt, self.passes.forward.training, self.passes.uncounted)
        outcomes = packing.stream(points, evaluate, self.executor)
        return iter(tqdm(outcomes, desc=self.progress, total=total, file=sys.stderr)) if self.progress else outcomes

    def _learnt(self, problem: Problem, evaluate: Evaluate) -> Sizing:
        """What was learnt of passes like these in earlier calls."""
        tensors = problem.inputs
        site = tuple((layer.name, layer.io) for layer in problem.layers)
        about = (evaluate.__qualname__, site, tuple((t.shape, t.dtype, t.device) for t in tensors))
        return self.passes.forward.sizes.setdefault(about, Sizing(len(problem.arguments), None, tensors[0].device))
