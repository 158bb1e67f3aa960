"""Noise tunnel: a method's attributions for noisy copies of the inputs, summed up by their mean, mean square or variance."""

from collections.abc import Callable

import attrs
import torch

from attrkit import Problem, wrapper
from attrkit.errors import UsageError, did_you_mean
from attrkit.protocols import Tensors
from attrkit_gradients.noise import Deviations, deviations, noisy


@attrs.define
class Moments:
    """Count, mean and sum of squared deviations so far, updated one sample at a time (Welford, doi:10.2307/1266577).

    The variance from the mean of squares would lose all digits where the noise is small.
    """

    mean: Tensors
    deviations: Tensors
    count: int = 0

    def add(self, sample: Tensors) -> None:
        """Take in one more sample."""
        self.count += 1
        before = tuple(x - m for x, m in zip(sample, self.mean, strict=True))
        self.mean = tuple(m + b / self.count for m, b in zip(self.mean, before, strict=True))
        after = zip(self.deviations, before, sample, self.mean, strict=True)
        self.deviations = tuple(d + b * (x - m) for d, b, x, m in after)


SUMMARIES: dict[str, Callable[[Moments], Tensors]] = {
    "smoothgrad": lambda moments: moments.mean,
    "smoothgrad_sq": lambda moments: tuple(
        m.square() + d / moments.count for m, d in zip(moments.mean, moments.deviations, strict=True)
    ),
    "vargrad": lambda moments: tuple(d / moments.count for d in moments.deviations),
}


@wrapper(
    "noise_tunnel",
    stochastic=True,
    times="nt_samples",
    references=("arXiv:1706.03825", "arXiv:1810.03292", "arXiv:1806.10758"),
)
def noise_tunnel(
    problem: Problem,
    inner: Callable[[Problem], Tensors],
    *,
    nt_type: str = "smoothgrad",
    nt_samples: int = 5,
    nt_samples_batch_size: int | None = None,
    stdevs: Deviations = 1.0,
    draw_baseline_from_distrib: bool = False,
) -> Tensors:
    """Apply a method to copies of the inputs with normal noise, and sum its attributions up.

    Args:
        nt_type: smoothgrad (their mean), smoothgrad_sq (the mean of their squares) or vargrad (their variance).
        nt_samples: noisy copies of each example.
        nt_samples_batch_size: the most copies of the batch that are given to the method at once; None leaves that to attrkit.
        stdevs: standard deviation of the noise, in units of the inputs; a number, or one for each input.
        draw_baseline_from_distrib: take the baselines for a distribution, of which each copy of each example draws a row.

    Raises:
        UsageError: ``nt_type`` is none of these, a number of samples is less than 1, ``stdevs`` are negative or not as many as
            inputs, or baselines are to be drawn for a method that takes none, or do not fit the inputs.
        UsageTypeError: ``stdevs`` are no numbers, noise is to be added to an input of integers, or baselines to be drawn are no
            tensors.
    """
    if nt_type not in SUMMARIES:
        raise UsageError(f"nt_type must be {', '.join(SUMMARIES)}, got {nt_type!r}.{did_you_mean(nt_type, SUMMARIES)}")
    for name, number in (("nt_samples", nt_samples), ("nt_samples_batch_size", nt_samples_batch_size)):
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, got {number}")
    if draw_baseline_from_distrib:
        problem = problem.drawing()
    spread = deviations(stdevs, len(problem.inputs))
    copies = (noisy(problem, spread, sample) for sample in range(nt_samples))
    moments: Moments | None = None
    for attribution in problem.attributions(inner, copies, nt_samples, nt_samples_batch_size):
        if moments is None:
            zero = tuple(torch.zeros_like(t, dtype=torch.promote_types(t.dtype, torch.float32)) for t in attribution)
            moments = Moments(zero, zero)
        moments.add(attribution)
    assert moments is not None  # for the type checker: there is at least one sample
    return SUMMARIES[nt_type](moments)
