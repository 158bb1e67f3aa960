"""Rules that hand on multipliers: times the difference from a reference they are contributions, which add up exactly."""

from collections.abc import Callable, Iterable
from functools import cached_property

import attrs
import torch
from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step, Tensors

_NORMALISER = 3  # among the gates of a step


def _reference(step: Step) -> Step:
    assert step.reference is not None  # for the type checker; whoever carries multipliers is given one
    return step.reference


def _slope(step: Step, eps: float) -> Tensor:
    """What the output changes by, per change of the input; the derivative where the input hardly changes."""
    reference = _reference(step)
    return _ratio(step.output - reference.output, step.input - reference.input, eps, step.local)


def _ratio(rise: Tensor, run: Tensor, eps: float, instead: Callable[[], Tensor]) -> Tensor:
    """A ratio of changes, and something else where there is hardly any. Raises UsageError where eps is negative or NaN."""
    if not eps >= 0:
        raise UsageError(f"eps must be a number of at least 0, got {eps}; a small one like 1e-10 is usual")
    small = run.abs() <= eps
    return torch.where(small, instead(), rise / run) if bool(small.any()) else rise / run


@rule(
    "rescale",
    operations={"activation", "arithmetic", "abs", "module"},
    carries="multiplier",
    conserves="yes",
    references=("arXiv:1704.02685",),
)
def rescale(step: Step, multiplier: Tensor, *, eps: float = 1e-10) -> Tensor:
    """Scale by the output's change per change of the input.

    Args:
        eps: below which change the derivative takes the place of the ratio.
    """
    return multiplier * _slope(step, eps)


@rule(
    "reveal_cancel",
    operations={"activation", "module"},
    carries="multiplier",
    joins=True,
    conserves="yes",
    references=("arXiv:1704.02685",),
)
def reveal_cancel(step: Step, multiplier: Tensor, *, eps: float = 1e-10) -> Tensor:
    """Treat positive and negative contributions to the input apart, so that those which cancel are seen.

    Where no linear map made the input, this is ``rescale``.

    Args:
        eps: below which change the derivative takes the place of a ratio.
    """
    if step.before is None:
        return multiplier * _slope(step, eps)
    reference, before = _reference(step), step.before
    change = before.input - _reference(before).input
    up, down = change.clamp(min=0), (-change).clamp(min=0)
    gained = before.forward(up, _positive) + before.forward(down, _negative)
    lost = -(before.forward(up, _negative) + before.forward(down, _positive))
    start = reference.input
    levels = [step.at(point) for point in (start, start + gained, start + lost, start + gained + lost)]
    gain = (levels[1] - levels[0] + levels[3] - levels[2]) / 2
    loss = (levels[2] - levels[0] + levels[3] - levels[1]) / 2
    rise = multiplier * _ratio(gain, gained, eps, step.local)
    fall = multiplier * _ratio(loss, lost, eps, step.local)
    if_up = before.transpose(rise, _positive) - before.transpose(fall, _negative)
    if_down = before.transpose(fall, _positive) - before.transpose(rise, _negative)
    return torch.where(change > 0, if_up, torch.where(change < 0, if_down, (if_up + if_down) / 2))


def _positive(w: Tensor) -> Tensor:
    return w.clamp(min=0)


def _negative(w: Tensor) -> Tensor:
    return (-w).clamp(min=0)


@rule("largest", operations={"max_pool", "max"}, carries="multiplier", conserves="yes", references=("arXiv:1704.02685",))
def largest(step: Step, multiplier: Tensor, *, eps: float = 1e-10) -> Tensor:
    """Share the change of a maximum between where it is and where it was.

    Args:
        eps: below which change of an entry the gradient takes the place of the ratio.
    """
    reference = _reference(step)
    most = torch.maximum(step.output, reference.output)
    here = step.vjp(multiplier * (most - reference.output))
    there = step.vjps(multiplier * (step.output - most), at=[reference.input.expand_as(step.input)])[0]
    return _ratio(here + there, step.input - reference.input, eps, lambda: step.vjp(multiplier))


@attrs.frozen(slots=False)
class _Softmax:
    """Exponentials of entries below their maximum, of input and reference, and what multipliers become on the way back.

    Each is taken below its own maximum: below a common one, those of the smaller would vanish, and their quotients explode.
    """

    step: Step
    eps: float

    @cached_property
    def changes(self) -> tuple[Tensor, Tensor, Tensor]:
        """The exponentials for input and reference, and their change per change of the entries below the maximum."""
        now, then = (x - x.amax(self.dim, keepdim=True) for x in (self.step.input, _reference(self.step).input))
        up, down = torch.exp(now), torch.exp(then)
        return up, down, _ratio(up - down, _change(now, then), self.eps, lambda: up)

    @property
    def dim(self) -> int:
        """Over which dimension."""
        found: int = self.step.options["dim"]
        return found

    def summed(self, x: Tensor) -> Tensor:
        """The sum over that dimension."""
        return x.sum(self.dim, keepdim=True)

    def back(self, multiplier: Tensor) -> Tensor:
        """Multipliers of the entries, from those of the entries below their maximum; the maximum as ``largest`` has it."""
        x, r = self.step.input, _reference(self.step).input.expand_as(self.step.input)
        (high, here), (low, there) = (t.max(self.dim, keepdim=True) for t in (x, r))
        most, passed = torch.maximum(high, low), -self.summed(multiplier)
        moved = torch.zeros_like(x).scatter_add(self.dim, here, passed * (most - low))
        moved = moved.scatter_add(self.dim, there, passed * (high - most))
        at_maximum = torch.zeros_like(x).scatter_add(self.dim, here, passed)
        return multiplier + _ratio(moved, _change(x, r), self.eps, lambda: at_maximum)


def _change(x: Tensor, r: Tensor) -> Tensor:
    """The difference; 0 between equal infinities, which is what masks are made of."""
    return torch.where(x == r, 0, x - r)


@rule("softmax_composite", operations={"softmax"}, carries="multiplier", conserves="yes", references=("arXiv:1704.02685",))
def softmax_composite(step: Step, multiplier: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Exponentials and the reciprocal of their sum by rescale, the product of both by averages: exact for every change.

    Args:
        eps: below which change of an entry the derivative takes the place of the ratio.
    """
    softmax = _Softmax(step, eps)
    now, then, slope = softmax.changes
    total, before = softmax.summed(now), softmax.summed(then)
    shared = softmax.summed(multiplier * (now + then) / 2) / (total * before)
    return softmax.back((multiplier * (1 / total + 1 / before) / 2 - shared) * slope)


@rule(
    "log_softmax_composite", operations={"log_softmax"}, carries="multiplier", conserves="yes", references=("arXiv:1704.02685",)
)
def log_softmax_composite(step: Step, multiplier: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Entries less the logarithm of the sum of their exponentials, each function by rescale.

    Args:
        eps: below which change of an entry, or of the sum, the derivative takes the place of the ratio.
    """
    softmax = _Softmax(step, eps)
    now, then, slope = softmax.changes
    total, before = softmax.summed(now), softmax.summed(then)
    logarithm = _ratio(torch.log(total) - torch.log(before), total - before, eps, lambda: 1 / total)
    return softmax.back(multiplier - softmax.summed(multiplier) * logarithm * slope)


@rule(
    "averaged",
    operations={"bilinear"},
    carries="multiplier",
    conserves="yes",
    references=("arXiv:1704.02685", "doi:10.1038/s41467-022-31384-3"),
)
def averaged(step: Step, multiplier: Tensor) -> Tensors:
    """Each factor's change counts with the mean of the other's two values, which makes products add up exactly.

    Where one factor normalises the other, the signal's change counts with the normaliser of the input, and the normaliser's
    with the signal of the reference, which adds up as well: near zero, where a reference often is, normalisers explode.
    """
    pairs = list(zip(step.inputs, _reference(step).inputs, strict=True))
    if max(step.gates) == _NORMALISER > min(step.gates):
        at = [x if gate == _NORMALISER else r.expand_as(x) for (x, r), gate in zip(pairs, step.gates, strict=True)]
        return step.vjps(multiplier, at=at)
    return step.vjps(multiplier, at=[(x + r) / 2 for x, r in pairs])


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return rescale, reveal_cancel, largest, softmax_composite, log_softmax_composite, averaged
