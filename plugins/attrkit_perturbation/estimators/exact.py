"""Exact Shapley values: every coalition once."""

from math import comb

import torch
from torch import Tensor

from attrkit import Estimate, Game, estimator
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import answers, covers, fixed, note_baseline

_MOST = 22  # features, whose 4 million coalitions take a small model minutes


@estimator("exact", references=("doi:10.1515/9781400881970-018",))
def exact(game: Game, budget: int) -> Estimate:
    """Shapley values from the values of all coalitions, with a background over all of its rows.

    Raises:
        UsageError: the budget, or ten minutes of anyone's time, is not enough for all coalitions; or the replacement draws.
    """
    fixed(game, "exact")
    need = f"2^{game.count}" + (f" x {game.rows}" if game.rows > 1 else "")
    if game.count > _MOST:
        raise UsageError(
            f"the exact Shapley values of {game.count} features need {need} evaluations, more than 2^{_MOST}; group features "
            "by feature_mask, or use shapley_value_sampling or kernel_shap"
        )
    if not covers(game, budget):
        raise UsageError(
            f"n_samples={budget} is too small for estimator 'exact', which needs {need} = {2**game.count * game.rows} "
            f"evaluations for {game.count} features; give that many, group features by feature_mask, or let estimator='auto' "
            "choose another"
        )
    return enumerated(game)


def enumerated(game: Game) -> Estimate:
    """Shapley values from all coalitions, however many that are."""
    count = game.count
    total = 2**count
    bits = torch.arange(count)

    def coalitions(low: int, high: int) -> Tensor:
        numbers = torch.arange(low - 1, high - 1) % total  # first the one of all features, then that of none
        return torch.ne(numbers[:, None] >> bits & 1, 0)

    blocks = (coalitions(run.start, run.stop) for run in game.blocks(total))
    weights = torch.tensor([0.0, *(1 / (count * comb(count - 1, s)) for s in range(count)), 0.0], dtype=torch.float64)
    scores, first, shape, done = torch.empty(0), torch.empty(0), torch.Size(), 0
    for values in answers(game, blocks, total, None):
        flat = values.flatten(1)
        if not done:
            scores, first, shape = flat.new_zeros(count, flat.shape[1]), flat[0], values.shape[1:]
        if done <= 1 % total < done + len(flat):
            note_baseline(game, values[1 % total - done][None])
        present = coalitions(done, done + len(flat))
        size = present.sum(1)
        change = flat - first  # what all coalitions have in common would cost digits
        joined, left = weights[size][:, None] * change, weights[size + 1][:, None] * change
        scores += present.double().T @ (joined + left) - left.sum(0)
        done += len(flat)
    if done < total:
        raise KeyboardInterrupt
    return Estimate(scores.reshape(count, *shape), details={"estimator": "exact"})
