"""LIME whose samples, similarities and surrogate are all functions of the caller's."""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit import Problem, method
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors
from attrkit_perturbation.local.calling import alone, row, samples, similarity
from attrkit_perturbation.surrogates.fitting import surrogate_of


@method(
    "lime_base",
    where=("input",),
    gradient=False,
    stochastic=True,
    lands="features",
    forward_passes="n_samples",
    references=("arXiv:1602.04938",),
)
def lime_base(
    problem: Problem,
    *,
    interpretable_model: Any = None,
    similarity_func: Callable[..., Any] | None = None,
    perturb_func: Callable[..., Any] | None = None,
    perturb_interpretable_space: bool = True,
    from_interp_rep_transform: Callable[..., Any] | None = None,
    to_interp_rep_transform: Callable[..., Any] | None = None,
    n_samples: int = 50,
    perturb_kwargs: Mapping[str, Any] | None = None,
) -> Tensors:
    """LIME in any interpretable space: coefficients of a surrogate, shape ``(1, features)``, for one example.

    Samples may have other shapes than the example. The model returns one number for each. ``details`` hold the surrogate's
    ``intercept``.

    Args:
        interpretable_model: the surrogate: an object with ``fit``, a surrogate's name, or a mapping of that to its options.
        similarity_func: a function of the example, a sample, its interpretable representation and keywords, that returns the
            sample's weight.
        perturb_func: a function of the example and keywords that returns a sample, or a generator function that yields them.
        perturb_interpretable_space: whether samples are interpretable representations, ``(1, features)``, or inputs.
        from_interp_rep_transform: a function of a representation, the example and keywords that returns an input of the model;
            needed where samples are representations.
        to_interp_rep_transform: a function of an input, the example and keywords that returns its interpretable representation;
            needed where samples are inputs.
        n_samples: how many samples the surrogate is fitted to.
        perturb_kwargs: the keywords that all of these functions are given.

    Raises:
        UsageError: a function is missing, or what one returns does not fit; ``n_samples`` is less than 1; all weights are 0; or
            the model returns several numbers for a sample.
        UsageTypeError: something else is given for a function, ``interpretable_model`` is no surrogate, or what makes inputs
            returns something else than tensors.
    """
    inner = perturb_interpretable_space
    functions = {
        "perturb_func": perturb_func,
        "similarity_func": similarity_func,
        **(
            {"from_interp_rep_transform": from_interp_rep_transform}
            if inner
            else {"to_interp_rep_transform": to_interp_rep_transform}
        ),
    }
    for option, given in {"interpretable_model": interpretable_model, **functions}.items():
        if given is None:
            raise UsageError(f"lime_base needs {option}; the method lime has defaults for all of its functions")
    for option, given in functions.items():
        if not callable(given):
            raise UsageTypeError(f"{option} must be a function, got {type(given).__name__}")
    if n_samples < 1:
        raise UsageError(f"n_samples must be at least 1, got {n_samples}")
    surrogate = surrogate_of(problem, interpretable_model, "interpretable_model")
    near = _Samples(functions, problem.point, dict(perturb_kwargs or {}), n_samples)
    values: list[Tensor] = []
    for _, alike in groupby(near, lambda tensors: [t.shape for t in tensors]):
        values.extend(problem.values(alike))
    if any(v.numel() != 1 for v in values):
        raise UsageError(f"lime_base explains one number, the model returned {max(v.numel() for v in values)} for a sample")
    z, w = near.fitted()
    y = torch.stack([v.double().cpu().reshape(1) for v in values])
    coefficients, intercept = surrogate(z, y, w)
    problem.details |= {"intercept": intercept, "samples": len(z), "scores": coefficients.T}
    return (coefficients.T.to(values[0]),)


@attrs.define(eq=False)
class _Samples:
    """Inputs that functions of the caller's make; notes the representation and the weight of each that was asked for."""

    functions: Mapping[str, Any]
    inputs: Tensors
    kwargs: dict[str, Any]
    count: int
    rows: list[Tensor] = attrs.field(factory=list)
    weights: list[float] = attrs.field(factory=list)

    def __iter__(self) -> Iterator[Tensors]:
        perturb, similar, transform = self.functions.values()
        _, _, name = self.functions
        inner, original = name == "from_interp_rep_transform", alone(self.inputs)
        for sample in samples(perturb, self.inputs, self.count, self.kwargs):
            other = transform(sample, original, **self.kwargs)
            interpretable, changed = (sample, other) if inner else (other, sample)
            self.rows.append(row(interpretable, "perturb_func" if inner else name))
            built = _tensors(changed, name if inner else "perturb_func", len(self.inputs))
            self.weights.append(similarity(similar, self.inputs, built, interpretable, self.kwargs))
            yield built

    def fitted(self) -> tuple[Tensor, Tensor]:
        """Representations, shape ``(k, features)``, and weights, shape ``(k, 1)``, float64 on the CPU.

        Raises:
            UsageError: there is no sample, representations have several lengths, or all weights are 0.
        """
        if not self.rows:
            raise UsageError("perturb_func gave no sample at all; the surrogate needs some")
        if len(lengths := {len(r) for r in self.rows}) > 1:
            raise UsageError(f"interpretable representations must all have one length, got {sorted(lengths)}")
        if not any(self.weights):
            raise UsageError("all samples have the weight 0; use a similarity_func that returns more than 0")
        return torch.stack(self.rows), torch.tensor(self.weights, dtype=torch.float64)[:, None]


def _tensors(given: Any, name: str, count: int) -> Tensors:
    found = given if isinstance(given, tuple) else (given,)
    if len(found) != count or not all(isinstance(t, Tensor) for t in found):
        raise UsageTypeError(f"{name} must return inputs of the model, {count} tensors, it returned {type(given).__name__}")
    return found
