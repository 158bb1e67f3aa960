"""Models of the caller's own as surrogates: Captum's protocol and scikit-learn's."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from attrkit import Problem
from attrkit.errors import UsageError, UsageTypeError

#: From coalitions, values and weights to coefficients and intercepts.
Surrogate: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def surrogate_of(problem: Problem, given: Any, option: str) -> Surrogate:
    """A surrogate from what a caller gave: its name, options, a function, or an object with a method ``fit``.

    An object that has ``representation`` too is fitted with a DataLoader of one batch of coalitions, values and weights, in
    torch's default type, as Captum's are; its ``bias()`` is the intercept where it has one. Any other is called as
    scikit-learn's are, ``fit(X, y, sample_weight=)``, and has ``coef_`` then.

    Raises:
        UsageTypeError: a class instead of an object.
        UsageError: what was fitted has another number of coefficients than there are features.
    """
    if not hasattr(given, "fit"):
        found: Surrogate = problem.part("surrogates", given, option)
        return found
    if isinstance(given, type):
        raise UsageTypeError(f"{option} is the class {given.__name__}; give an object of it, {given.__name__}(...)")
    fit = _represented if hasattr(given, "representation") else _with_coefficients

    def fitted(coalitions: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        columns = zip(values.unbind(1), weights.expand_as(values).unbind(1), strict=True)
        each = [fit(given, coalitions, y, w) for y, w in columns]
        for coefficients, _ in each:
            if coefficients.shape != coalitions.shape[1:]:
                raise UsageError(
                    f"{option}: {type(given).__name__} was fitted to {coalitions.shape[1]} features but gives "
                    f"{coefficients.numel()} coefficients"
                )
        return torch.stack([c for c, _ in each], 1), torch.stack([i for _, i in each])

    return fitted


def _represented(model: Any, coalitions: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    data = TensorDataset(*(t.to(torch.get_default_dtype()) for t in (coalitions, values, weights)))
    with torch.enable_grad():  # it may be one that is trained
        model.fit(DataLoader(data, batch_size=len(data)))
    coefficients = torch.as_tensor(model.representation()).detach().double().cpu().flatten()
    bias = model.bias() if callable(getattr(model, "bias", None)) else None
    if bias is not None or coefficients.shape != coalitions.shape[1:]:
        return coefficients, torch.as_tensor(0.0 if bias is None else bias).detach().double().cpu().reshape(())
    return coefficients, (weights * (values - coalitions @ coefficients)).sum() / weights.sum()


def _with_coefficients(model: Any, coalitions: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    model.fit(coalitions.numpy(), values.numpy(), sample_weight=weights.numpy())
    intercept = torch.as_tensor(getattr(model, "intercept_", 0.0), dtype=torch.float64)
    return torch.as_tensor(model.coef_, dtype=torch.float64).flatten(), intercept.reshape(())
