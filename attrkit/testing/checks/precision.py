"""Other precisions and devices give the same numbers, or a clean refusal."""

from __future__ import annotations

import torch

from attrkit.errors import UsageError
from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded, smooth
from attrkit.testing.subject import Subject, close

_OF_A_SAMPLE = 1.0  # torch draws other numbers in another type


@check()
def float32_is_near_float64(s: Subject) -> None:
    """float32 gives what float64 gives, to a thousandth; of methods that draw, another sample perhaps."""
    precise = s.values(seeded(smooth), points(4, 5))
    found = tuple(v.double() for v in s.values(seeded(smooth).float(), points(4, 5).float()))
    if not s.spec.stochastic:
        close(found, precise, 2e-3)
    for v, p in zip(found, precise, strict=True):
        assert (v - p).norm() <= _OF_A_SAMPLE * p.norm() + 1e-3, "float32 gives something else than float64"


@check()
def half_precision_works_or_is_refused(s: Subject) -> None:
    """bfloat16 and float16 give roughly what float64 gives, or a UsageError that says why not."""
    precise = s.values(seeded(smooth), points(4, 5))
    for dtype in (torch.bfloat16, torch.float16):
        try:
            found = s.values(seeded(smooth).to(dtype), points(4, 5).to(dtype))
        except UsageError:
            continue
        for v, p in zip(found, precise, strict=True):
            assert v.isfinite().all(), f"{dtype} gives NaN or infinity"
            share = _OF_A_SAMPLE if s.spec.stochastic else 0.25
            assert (v.double() - p).norm() <= share * p.norm() + 1e-3, f"{dtype} gives something else than float64"


@check(lambda _: torch.cuda.is_available())
def devices_agree(s: Subject) -> None:
    """A GPU gives what the CPU gives, and results stay on it."""
    model, x = seeded(smooth), points(4, 5)
    expected = s.values(model, x)
    found = s.values(model.cuda(), x.cuda())
    assert all(v.is_cuda for v in found), "the result is on another device than the model"
    close(tuple(v.cpu() for v in found), expected, 1e-6)
