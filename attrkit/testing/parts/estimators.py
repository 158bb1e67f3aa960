"""What estimators promise."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attrkit.coalitions import Estimate
from attrkit.errors import AttrkitWarning, UsageError
from attrkit.testing.declared import declared
from attrkit.testing.models import points
from attrkit.testing.parts.games import Additive, Entangled, built, examples, played, shapley
from attrkit.testing.parts.subject import PartSubject
from attrkit.testing.snapshots import untouched


def _used(s: PartSubject, options: Mapping[str, Any]) -> Any:
    """The scores of an estimator with other options."""
    return played(PartSubject(s.spec, options), built(Additive, 6), examples(6), 50).scores


check = declared(_used)
CHECKS = check.found
_BUDGETS = (40, 64, 150, 1000)
_SIGMAS = 5  # how many standard errors anything may be off
_SEEDS = 30


def _estimate(s: PartSubject, model: nn.Module, x: Tensor, budget: int, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # that a budget is small
        return played(s, model, x, budget, **more)


def _tried(s: PartSubject, model: nn.Module, x: Tensor, **more: Any) -> Iterator[tuple[int, Any]]:
    """The estimates for the budgets that it does not refuse by a UsageError, and at least for one that covers everything."""
    for budget in (*_BUDGETS, 2 ** x.shape[1] * 4):
        try:
            yield budget, _estimate(s, model, x, budget, **more)
        except UsageError:
            if budget > _BUDGETS[-1]:
                raise


def _allowed(found: Estimate, scale: float) -> Tensor:
    """How far scores may be off."""
    if found.errors is None:
        return torch.full_like(found.scores, 0.1 * scale)
    return _SIGMAS * found.errors + 1e-7 * scale


@check()
def returns_an_estimate(s: PartSubject) -> None:
    """An Estimate with a score for each feature, example and output; float64 on the CPU, finite; errors not negative."""
    x = examples(7)
    for budget, found in _tried(s, built(Entangled, 7), x):
        assert isinstance(found, Estimate), f"returned {type(found).__name__}; return an attrkit.Estimate"
        shape = tuple(found.scores.shape)
        assert shape == (7, 2, 2), f"scores of 7 features, 2 examples and 2 outputs have shape {shape} (n_samples={budget})"
        kept = found.scores.dtype, found.scores.device.type
        assert kept == (torch.float64, "cpu"), f"scores are {kept[0]} on {kept[1]}"
        assert bool(found.scores.isfinite().all()), f"NaN or infinity among the scores (n_samples={budget})"
        assert not found.scores.requires_grad, "scores have a graph"
        if found.errors is not None:
            assert found.errors.shape == found.scores.shape, f"errors have shape {tuple(found.errors.shape)}, scores {shape}"
            assert bool((found.errors >= 0).all()), f"errors are negative or NaN (n_samples={budget})"
        assert found.degrees is None or found.degrees > 0, f"errors with {found.degrees} degrees of freedom"


@check()
def is_exact_for_sums(s: PartSubject) -> None:
    """Where the model is a sum over features, each gets its own term."""
    model, x = built(Additive, 6), examples(6)
    expected = (model.linear.weight[:, :, None] * x.T).permute(1, 2, 0).detach()  # type: ignore[union-attr, index]
    for budget, found in _tried(s, model, x):
        off = float((found.scores - expected).abs().max())
        assert off <= 1e-6, f"scores of a sum over features are off by {off:.2g} (n_samples={budget})"


@check()
def what_is_ignored_gets_nothing(s: PartSubject) -> None:
    """A feature that makes no difference gets 0, as far as the estimate goes."""
    for budget, found in _tried(s, built(Entangled, 7), examples(7)):
        scale = float(found.scores.abs().max())
        off = found.scores[-1].abs() - _allowed(found, scale)[-1]
        assert float(off.max()) <= 0, (
            f"an ignored feature got {float(found.scores[-1].abs().max()):.3g} where the largest score is {scale:.3g} "
            f"(n_samples={budget})"
        )


@check()
def equal_features_get_the_same(s: PartSubject) -> None:
    """Two features that make the same difference get the same, as far as the estimate goes."""
    for budget, found in _tried(s, built(Entangled, 7), examples(7)):
        scale = float(found.scores.abs().max())
        allowed = _allowed(found, scale)
        apart = (found.scores[0] - found.scores[1]).abs()
        assert bool((apart <= allowed[0] + allowed[1]).all()), (
            f"equal features got scores {float(apart.max()):.3g} apart, where the largest is {scale:.3g} (n_samples={budget})"
        )


@check()
def keeps_to_its_budget(s: PartSubject) -> None:
    """The model is asked for no more values than the budget, whatever that is; one that is too small is a UsageError."""
    for rows in (1, 3):
        background = points(rows, 7, seed=9) if rows > 1 else None
        for budget in (1, 2, 5, 17, *_BUDGETS):
            try:
                _, spent = _estimate(
                    s, built(Entangled, 7), examples(7), budget, after=lambda game: game.spent, background=background
                )
            except UsageError as error:
                named = "n_samples" in str(error) or "budget" in str(error) or background is not None
                assert named, f"a budget of {budget} is refused without saying what to change: {error}"  # noqa: PT017 - no pytest here
                continue
            assert spent <= budget, f"asked the model for {spent} values, with a budget of {budget}"


@check()
def examples_and_outputs_do_not_mix(s: PartSubject) -> None:
    """An example and an output have the scores beside others that they have alone."""
    model, x = built(Entangled, 7), examples(7, rows=3)

    class One(nn.Module):
        """One of the outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            """Shape (batch,)."""
            found: Tensor = self.inner(x)[:, 1]
            return found

    for budget, found in _tried(s, model, x):
        alone = _estimate(s, model, x[1:2], budget).scores
        off = float((found.scores[:, 1:2] - alone).abs().max())
        assert off <= 1e-6, f"an example's scores differ by {off:.2g} from those that it has alone (n_samples={budget})"
        one = _estimate(s, One(), x, budget).scores
        off = float((found.scores[..., 1] - one).abs().max())
        assert off <= 1e-6, f"an output's scores differ by {off:.2g} from those that it has alone (n_samples={budget})"


@check()
def follows_the_seed(s: PartSubject) -> None:
    """The same seed gives the same scores, and nothing else is left different: no random state, no parameter."""
    model, x = built(Entangled, 9), examples(9)
    with untouched(model, x):
        first = {budget: found.scores for budget, found in _tried(s, model, x, seed=1)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        for budget, found in _tried(s, model, x, seed=1):
            assert torch.equal(found.scores, first[budget]), f"the same seed gave other scores (n_samples={budget})"


@check()
def comes_near_the_shapley_value(s: PartSubject) -> None:
    """With many values it is near the Shapley value, and with all of them it is that value."""
    model, x = built(Entangled, 7), examples(7)
    expected = shapley(model, x)
    scale = float(expected.abs().max())
    for budget, found in _tried(s, model, x):
        off = (found.scores - expected).abs()
        if budget >= 2**7:
            far = float((off - _allowed(found, scale)).max())
            assert far <= 0, f"scores are off by {float(off.max()) / scale:.2g} of the largest (n_samples={budget})"


@check()
def errors_cover(s: PartSubject) -> None:
    """Where it gives standard errors, these are neither far too small nor far too large, and say so of the mean too."""
    model, x, ratios, scores = built(Entangled, 8), examples(8, rows=1), [], []
    expected = shapley(model, x)
    for seed in range(_SEEDS):
        try:
            found = _estimate(s, model, x, 100, seed=seed)
        except UsageError:
            return
        if found.errors is None:
            return
        some = found.errors > 1e-9
        ratios.append(((found.scores - expected)[some] / found.errors[some]).flatten())
        scores.append(found.scores - expected)
    every = torch.cat(ratios)
    if not len(every):
        return
    covered = float((every.abs() <= 3).double().mean())
    assert covered >= 0.9, f"only {covered:.0%} of scores are within three standard errors of the Shapley value"
    assert float(every.abs().median()) >= 0.05, "standard errors are more than ten times too large"
    both = torch.stack(scores)
    bias = both.mean(0).abs() / (both.std(0) / _SEEDS**0.5 + 1e-9)
    assert float(bias.max()) <= 6, "the mean over many seeds is not the Shapley value: the estimator is biased"


@check()
def constants_get_nothing(s: PartSubject) -> None:
    """A model that always says the same gives every feature 0, and one without features that matter gives no trouble."""
    model, x = built(Additive, 6), examples(6)
    with torch.no_grad():
        model.linear.weight.zero_()  # type: ignore[operator, union-attr]
    for budget, found in _tried(s, model, x):
        assert float(found.scores.abs().max()) <= 1e-9, f"features of a constant got scores (n_samples={budget})"
    none = _estimate(s, model, torch.zeros_like(x), 100)
    assert none.scores.shape == (0, 2, 3), f"without features the scores have shape {tuple(none.scores.shape)}"


@check()
def a_single_feature_gets_all(s: PartSubject) -> None:
    """One feature gets the whole change of the output, and of two each is told from the other."""
    for count in (1, 2):
        model, x = built(Additive, count), points(2, count, seed=4)
        found = _estimate(s, model, x, 100).scores
        with torch.no_grad():
            change = model(x) - model(torch.zeros_like(x))
        off = float((found.sum(0) - change).abs().max())
        assert off <= 1e-6, f"{count} features got {off:.2g} more or less than the change of the output"


@check()
def a_background_is_averaged(s: PartSubject) -> None:
    """Over rows of a background, a sum over features gives each its term less the mean one; or it is refused."""
    model, x, rows = built(Additive, 6), examples(6), points(3, 6, seed=9)
    weight = model.linear.weight[:, :, None]  # type: ignore[union-attr, index]
    expected = (weight * (x - rows.mean(0)).T).permute(1, 2, 0).detach()
    try:
        found = _estimate(s, model, x, 1000, background=rows)
    except UsageError:
        return
    off = (found.scores - expected).abs() - _allowed(found, float(expected.abs().max()))
    assert float(off.max()) <= 0, "scores over a background are not those over the mean of its rows"


@check()
def replacements_that_draw_are_averaged_or_refused(s: PartSubject) -> None:
    """Where each draw replaces by something else, scores are those over its mean; or a UsageError says why not."""
    model, x = built(Additive, 6), examples(6)
    weight = model.linear.weight[:, :, None]  # type: ignore[union-attr, index]
    expected = (weight * x.T).permute(1, 2, 0).detach()

    def noise(problem: Any) -> Any:
        return lambda numbers: (torch.stack([problem.normal(int(n))[0] for n in numbers]) * 0.1,)

    try:
        found = _estimate(s, model, x, 1000, replacement=noise)
    except UsageError:
        return
    off = float((found.scores - expected).abs().max())
    assert off <= 0.25 * float(expected.abs().max()), f"scores are off by {off:.2g} where replacements are drawn around 0"
