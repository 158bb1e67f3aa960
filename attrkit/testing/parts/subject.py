"""What is checked: one part with options; and problems to give to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import UsageError
from attrkit.explaining import explain
from attrkit.parts import PartSpec
from attrkit.problem import Problem
from attrkit.protocols import Tensors
from attrkit.specs import MethodSpec
from attrkit.testing.models import points

Result = TypeVar("Result")


@attrs.frozen(eq=False)
class PartSubject:
    """One part, with the options under test."""

    spec: PartSpec
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def __call__(self, *given: Any) -> Any:
        """What the function itself returns."""
        return self.spec.function(*given, **self.spec.resolve(self.options))


class Total(nn.Module):
    """The sum of all there is, for inputs of any type."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """One number for each example."""
        return torch.stack([x.double().flatten(1).sum(1) for x in inputs]).sum(0)


def within(run: Callable[[Problem], Result], inputs: Tensors, *, model: nn.Module | None = None, **given: Any) -> Result:
    """What ``run`` makes of the problem of explaining a model, while that is explained."""
    found: list[Result] = []

    def function(problem: Problem) -> Tensors:
        found.append(run(problem))
        return problem.zeros()

    probe = MethodSpec(
        "probe", function, gradient=False, baseline="optional", baseline_at="site", outputs="every", forward_passes="0"
    )
    explain(model or Total(), inputs, probe, **given)
    return found[-1]


#: Inputs of every kind: type and shape of one example, of each tensor.
SETTINGS: dict[str, tuple[tuple[torch.dtype, tuple[int, ...]], ...]] = {
    "a table": ((torch.float64, (6,)),),
    "a table in float32": ((torch.float32, (6,)),),
    "an image": ((torch.float64, (2, 5, 4)),),
    "a sequence": ((torch.float64, (4, 3)),),
    "token numbers": ((torch.int64, (5,)),),
    "flags": ((torch.bool, (6,)),),
    "two tensors": ((torch.float64, (4, 5)), (torch.float64, (4, 3))),
    "an image and a table": ((torch.float64, (2, 5, 4)), (torch.float64, (6,))),
}


def inputs_of(setting: str, rows: int = 3) -> Tensors:
    """Examples of a kind."""
    drawn = [(points(rows, *shape, seed=21 + i), dtype) for i, (dtype, shape) in enumerate(SETTINGS[setting])]
    return tuple(x > 0 if d is torch.bool else (x * 3).round().abs().to(d) if d is torch.int64 else x.to(d) for x, d in drawn)


def accepted(takes: Callable[[Tensors], Any]) -> Iterator[str]:
    """The kinds of inputs that a part does not refuse by a UsageError."""
    for setting in SETTINGS:
        try:
            takes(inputs_of(setting))
        except UsageError:
            continue
        except Exception:  # noqa: BLE001, S110 - which a check finds again, and can say where
            pass
        yield setting


def refused(takes: Callable[[Tensors], Any]) -> str:
    """Why all inputs are refused: for one reason, or a line for each kind of them."""
    reasons: dict[str, str] = {}
    for setting in SETTINGS:
        try:
            takes(inputs_of(setting))
        except UsageError as error:
            reasons[setting] = str(error)
    if len(set(reasons.values())) == 1:
        return f"it refuses all inputs: {next(iter(reasons.values()))}"
    lines = (f"{setting}: {reason}" for setting, reason in reasons.items())
    return "\n".join(("it refuses all inputs, for several reasons; options may help:", *lines))


def broadcasts(t: Tensor, x: Tensor) -> bool:
    """Whether a tensor can be expanded to another one's shape."""
    try:
        return tuple(torch.broadcast_shapes(t.shape, x.shape)) == tuple(x.shape)
    except RuntimeError:
        return False
