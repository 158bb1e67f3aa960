"""A batch is its examples, however it is cut, laid out or filled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrkit.testing.checks.registered import check
from attrkit.testing.models import Scaled, points, relu, seeded, smooth
from attrkit.testing.subject import Subject, close, fits


def _deterministic(s: Subject) -> bool:
    return not s.spec.stochastic


@check(_deterministic)
def examples_do_not_mix(s: Subject) -> None:
    """An example is explained in a batch as it is alone."""
    together = s.values(seeded(), points(4, 5))
    alone = zip(*(s.values(seeded(), row[None]) for row in points(4, 5)), strict=True)
    close(together, tuple(map(torch.cat, alone)))


@check()
def chunks_change_nothing(s: Subject) -> None:
    """Any ``internal_batch_size`` gives the same, draws included."""
    whole = s.values(seeded(), points(4, 5))
    for size in (1, 3, 64):
        close(s.values(seeded(), points(4, 5), internal_batch_size=size), whole)


@check()
def no_pass_is_larger_than_allowed(s: Subject) -> None:
    """``internal_batch_size`` bounds the rows of every forward pass."""
    rows: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded(smooth)

        def forward(self, x: Tensor) -> Tensor:
            rows.append(len(x))
            logits: Tensor = self.inner(x)
            return logits

    s.values(Counting(), points(4, 5), internal_batch_size=3, layer="inner.2")
    assert max(rows, default=0) <= 3, f"a forward pass had {max(rows)} rows where internal_batch_size was 3"


@check()
def an_empty_batch_is_fine(s: Subject) -> None:
    """No examples give no attributions, of the right shape."""
    returned, problem = s.raw(seeded(), points(0, 5))
    assert fits(s, returned, problem), "an empty batch does not give empty attributions"


@check()
def the_layout_of_inputs_does_not_matter(s: Subject) -> None:
    """Inputs that are not contiguous, or expanded from one row, are inputs like others."""
    x = points(4, 5)
    strided = torch.stack([x, x], 2)[..., 0]
    close(s.values(seeded(), strided), s.values(seeded(), x))
    one = points(1, 5).expand(4, 5)
    close(s.values(seeded(), one), s.values(seeded(), one.contiguous()))


@check()
def further_arguments_go_along(s: Subject) -> None:
    """Further arguments of the model are given with their examples, and others as they are."""
    x, scale = points(4, 5), torch.tensor([[1.0], [2.0], [0.5], [3.0]], dtype=torch.float64)
    found = s.values(seeded(Scaled), x, additional_forward_args=(scale, 2), layer="inner.2")
    if s.spec.stochastic:
        return  # that it ran is all that can be compared
    each = [
        s.values(seeded(Scaled), row[None], additional_forward_args=(by[None], 2), layer="inner.2")
        for row, by in zip(x, scale, strict=True)
    ]
    close(found, tuple(map(torch.cat, zip(*each, strict=True))))


@check(_deterministic)
def nan_stays_in_its_example(s: Subject) -> None:
    """An example with NaN spoils its own attributions only."""
    others = torch.tensor([0, 2, 3])
    for build in (relu, smooth):  # a rectifier stops NaN on the way back
        x = points(4, 5)
        clean = s.values(seeded(build), x)
        x[1, 2] = torch.nan
        try:
            found = s.values(seeded(build), x)
        except ValueError:
            return  # refused is contained too
        close(tuple(v[others] for v in found), tuple(v[others] for v in clean))
