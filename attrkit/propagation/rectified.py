"""Keeping what a ReLU leaves of an output in place of the output, for rules that do not look at what carries nothing.

A ReLU hands nothing back to what it sets to zero. Where it is all that uses an output, the two are the same for such a rule,
and what the ReLU leaves is kept anyway. Whether it is all is only known after the forward pass, from the autograd graph.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs
from torch import Tensor

from attrkit.propagation.step import Kept, OperationStep


@attrs.define
class Rectified:
    """Steps whose output was replaced so far, with the node that made it and the one of the ReLU."""

    _notes: list[tuple[OperationStep, Any, Any]] = attrs.field(factory=list)

    def replace(self, step: OperationStep, node: Any, kept: Kept, relu: Any) -> None:
        """Keep what a ReLU leaves."""
        step.kept_output = kept
        self._notes.append((step, node, relu))

    def settle(self, value: Tensor) -> None:
        """Forget it where something else uses the output too: it is computed once more when it is asked for."""
        users = _users(value) if self._notes else {}
        for step, node, relu in self._notes:
            if any(user is not relu for user in users.get(node, ())):
                step.kept_output = None
        self._notes.clear()


def _users(value: Tensor) -> dict[Any, list[Any]]:
    """The nodes between ``value`` and the inputs, by the nodes that they use."""
    users: dict[Any, list[Any]] = defaultdict(list)
    users[value.grad_fn].append(None)
    waiting, seen = [value.grad_fn], {value.grad_fn}
    while waiting:
        node = waiting.pop()
        for used, _ in () if node is None else node.next_functions:
            users[used].append(node)
            if used not in seen:
                seen.add(used)
                waiting.append(used)
    return users
