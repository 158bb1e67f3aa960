"""What is checked: one ruleset with values for its parameters; and what it makes of a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
from torch import Tensor, nn

from attrkit.errors import AttrkitWarning, RulesetError, UngovernedError
from attrkit.explaining import explain
from attrkit.propagation import Row, operations
from attrkit.protocols import Tensors
from attrkit.registry import registry
from attrkit.rulesets.reader import read_ruleset
from attrkit.rulesets.ruleset import Ruleset
from attrkit.specs import MethodSpec
from attrkit.testing.zoo import NETS, Net


@attrs.frozen(eq=False)
class Propagated:
    """What came of one network: what rules carry at the input, times what it is a multiple of; and what governed what."""

    carried: Tensor
    relevance: Tensor
    explained: Tensor  # the output, or its change from the reference, shape (batch,)
    rows: tuple[Row, ...]


@attrs.frozen(eq=False, slots=False)
class RulesetSubject:
    """One ruleset, with the parameters under test."""

    source: Any
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @cached_property
    def ruleset(self) -> Ruleset:
        """As it is read, which finds every problem that can be found without a model."""
        return read_ruleset(self.source, registry, frozenset(operation.name for operation in operations()))

    def reads(self) -> bool:
        """Whether it can be read. Raises UnknownName where there is none."""
        try:
            _ = self.ruleset
        except RulesetError:
            return False
        return True

    def run(self, model: nn.Module, x: Tensor, parameters: Mapping[str, Any] | None = None) -> Propagated:
        """What it makes of a network's output 1. Raises UngovernedError where it does not cover an operation."""
        seen: list[Propagated] = []

        def function(problem: Any) -> Tensors:
            value, found = problem.propagate(self.ruleset, self.options if parameters is None else parameters)
            compares = "baseline" in problem.outputs
            factor = problem.point[0] - problem.baseline[0] if compares else None
            explained = value - problem.outputs["baseline"] if compares else value
            rows = problem.runner.report
            seen.append(Propagated(found[0], found[0] if factor is None else found[0] * factor, explained, rows))
            return tuple(found)

        probe = MethodSpec("propagated", function, baseline="optional", backward_passes="1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AttrkitWarning)  # of entries that this network has no use for
            explain(model, x, probe, target=1)
        return seen[-1]

    @cached_property
    def refused(self) -> Mapping[str, UngovernedError]:
        """The networks of the kit that it does not cover, and why."""
        found = {}
        for name, net in NETS.items():
            try:
                self.run(net.built(), net.inputs())
            except UngovernedError as error:
                found[name] = error
            except Exception:  # noqa: BLE001, S110 - which a check finds again, and can say where
                pass
        return found

    def covered(self) -> Iterator[tuple[str, Net]]:
        """The networks that it covers."""
        return ((name, net) for name, net in NETS.items() if name not in self.refused)
