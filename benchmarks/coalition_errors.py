"""How far estimates of Shapley values are from the truth at equal numbers of evaluations, for attrkit and other libraries."""

import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import chain
from math import exp, inf, log
from typing import Any

import attrs
import torch
from torch import Tensor

import attrkit
from benchmarks.bars import Held
from benchmarks.games import Compared, Known
from benchmarks.peers_of_coalitions import Counted, background_of_shap, peers, quietly

AUTO, LEVERAGE = "attrkit auto", "attrkit leverage"
OURS = {AUTO: "auto", LEVERAGE: "leverage", "attrkit odd_gp": "odd_gp", "attrkit antithetic": "antithetic"}
FACTORS = (2, 5, 10, 20, 50)  # evaluations for each player
ROWS = (1000, 2000, 5000, 10000, 50000)  # evaluations with a background
_BACKGROUND = "shap KernelExplainer"  # the peer that takes a background
_EXACT = 1e-6  # two errors below are equal


@attrs.frozen
class Errors:
    """Relative errors of one estimator on one game, by the number of evaluations it was granted, and how many it made."""

    game: str
    estimator: str
    errors: dict[int, list[float]] = attrs.field(factory=dict)
    rows: dict[int, list[float]] = attrs.field(factory=dict)  # as multiples of what was granted
    spread: dict[int, list[float]] = attrs.field(factory=dict)  # errors as multiples of the standard errors
    inside: dict[int, list[bool]] = attrs.field(factory=dict)  # whether the truth is within the interval of 95 %
    failure: str = ""


@attrs.frozen
class Results:
    """Everything that was measured."""

    all: Sequence[Errors]

    @property
    def games(self) -> list[str]:
        """The games, in order."""
        return list(dict.fromkeys(one.game for one in self.all))

    def error(self, game: str, estimator: str, budget: int) -> float:
        """The median of relative errors over examples and repeats."""
        found = [e for one in self.all if (one.game, one.estimator) == (game, estimator) for e in one.errors.get(budget, ())]
        return statistics.median(found) if found else inf

    def rows(self, estimator: str, budget: int) -> float:
        """How many evaluations an estimator made of those it was granted, on average."""
        found = [r for one in self.all if one.estimator == estimator for r in one.rows.get(budget, ())]
        return statistics.fmean(found) if found else 0.0

    def ratios(self, worse: str, better: str, budget: int) -> dict[str, float]:
        """By game, how many times larger one estimator's error is than another's."""
        pairs = {game: (self.error(game, worse, budget), self.error(game, better, budget)) for game in self.games}
        return {g: 1.0 if max(pair) < _EXACT else pair[0] / pair[1] for g, pair in pairs.items() if inf not in pair}

    @property
    def failures(self) -> list[str]:
        """What could not be measured, each once."""
        return list(dict.fromkeys(f"{one.estimator}: {one.failure}" for one in self.all if one.failure))


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean; nan of nothing."""
    logs = [log(max(ratio, 1e-300)) for ratio in ratios]
    return exp(statistics.fmean(logs)) if logs else float("nan")


# Estimators.


def _ours(estimator: str, game: Known, budget: int, seed: int) -> Any:
    ones = torch.ones(1, game.count, dtype=torch.float64)
    return attrkit.explain(game.model, ones, "kernel_shap", baselines=0.0, n_samples=budget, estimator=estimator, seed=seed)


def _read(found: Any) -> Tensor:
    """The estimates, of a tensor or an explanation."""
    if isinstance(found, Tensor):
        return found
    values: Tensor = next(iter(found.values.values()))[0]
    return values


def _told(found: Any, truth: Tensor) -> tuple[list[float], list[bool]]:
    """Errors as multiples of the standard errors that were reported, if any were, and whether the truth is in the intervals.

    Of those standard errors that are not nothing.
    """
    if isinstance(found, Tensor) or not found.errors:
        return [], []
    ((name, reported),) = found.errors.items()
    (low, high), wrong = found.interval(0.95)[name], found.values[name][0] - truth
    some = reported[0] > 1e-9 * reported[0].norm()
    return (wrong / reported[0])[some].tolist(), ((low[0] <= truth) & (truth <= high[0]))[some].tolist()


def _ours_background(estimator: str, game: Compared, budget: int, seed: int) -> Any:
    given: dict[str, Any] = {"background": game.rows, "n_samples": budget, "estimator": estimator, "seed": seed}
    return attrkit.explain(game.model, game.x, "kernel_shap", **given)


def _estimator(game: Known | Compared, name: str) -> Callable[[Any, int, int], Any]:
    if isinstance(game, Known):
        return partial(_ours, OURS[name]) if name in OURS else peers()[name]
    return partial(_ours_background, OURS[name]) if name in OURS else background_of_shap


def _measured(game: Known | Compared, name: str, budgets: Sequence[int], repeats: int) -> Errors:
    estimate, counted = _estimator(game, name), Counted(game.model)
    played, unit = attrs.evolve(game, model=counted), game.count if isinstance(game, Known) else 1
    found = Errors(game.name, name)
    for budget, seed in ((b, s) for b in budgets for s in range(repeats)):
        counted.rows = 0
        try:
            with torch.no_grad():
                estimated = estimate(played, budget * unit, seed)
        except Exception as error:  # noqa: BLE001 - one estimator must not cost all others
            return attrs.evolve(found, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
        wrong = _read(estimated) - game.truth
        found.errors.setdefault(budget, []).append(float(wrong.norm() / game.truth.norm()))
        found.rows.setdefault(budget, []).append(counted.rows / (budget * unit))
        spread, inside = _told(estimated, game.truth)
        found.spread.setdefault(budget, []).extend(spread)
        found.inside.setdefault(budget, []).extend(inside)
    return found


# Runs.


def _prepare() -> None:
    quietly()
    torch.set_num_threads(1)


def run(tasks: Iterable[tuple[Known | Compared, str, Sequence[int], int]], jobs: int) -> Results:
    """Measure, in some processes: each task is a game, or one with a background, an estimator, its budgets and repeats."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _prepare) as pool:
        # the largest games first, so that none of them is left to one process at the end
        ordered = sorted(enumerate(tasks), key=lambda pair: -len(pair[1][0].truth))
        waiting = {pool.submit(_measured, *task): i for i, task in ordered}
        found = [(waiting[done], done.result()) for done in as_completed(waiting)]
    return Results([one for _, one in sorted(found, key=lambda pair: pair[0])])


def names() -> list[str]:
    """All estimators, attrkit's first."""
    return [*OURS, *peers()]


# Tables.


def medians(results: Results, estimators: Sequence[str], budget: int) -> Iterator[list[str]]:
    """For each estimator its errors by game, and how many evaluations it made of those it was granted."""
    for name in estimators:
        errors = [results.error(game, name, budget) for game in results.games]
        yield [name, *(f"{e:.3g}" for e in errors), f"{results.rows(name, budget):.2f}"]


def means(results: Results, pairs: Iterable[tuple[str, str]], budgets: Sequence[int]) -> Iterator[list[str]]:
    """For each pair of estimators the geometric means of the ratios of their errors, with the least and the largest."""
    for worse, better in pairs:
        cells = []
        for budget in budgets:
            found = results.ratios(worse, better, budget).values()
            cells.append(f"{mean(found):.2f} [{min(found):.2f}, {max(found):.2f}]" if found else "")
        yield [f"{worse} / {better}", *cells]


def held(results: Results, budget: int) -> Iterator[Held]:
    """The bars of the suite."""
    for worse, better, least in (
        ("captum KernelShap", AUTO, 3.5),
        ("captum ShapleyValueSampling", AUTO, 3.5),
        ("shap KernelExplainer", AUTO, 1.8),
        ("shapiq KernelSHAP, pairing", AUTO, 1.6),
        ("captum KernelShap", LEVERAGE, 2.0),
    ):
        yield Held(f"{worse} / {better}, {budget}M", mean(results.ratios(worse, better, budget).values()), least)


def worst(results: Results, budgets: Iterable[int], suite: str) -> Held:
    """By how much the automatic choice is worse than the plain regression, where it is worst."""
    found = {(b, g): r for b in budgets if b >= 5 for g, r in results.ratios(AUTO, LEVERAGE, b).items()}
    where, value = max(found.items(), key=lambda item: item[1]) if found else ((0, "nothing measured"), float("nan"))
    return Held(f"{AUTO} / leverage, worst of {suite} ({where[1]}, {where[0]}M)", value, most=1.2)


def with_background() -> list[str]:
    """The estimators that are compared with a background."""
    return [*OURS, *(name for name in peers() if name == _BACKGROUND)]


def held_background(results: Results, budgets: Iterable[int]) -> Held:
    """The bar with a background: the geometric mean over games and budgets."""
    ratios = [r for b in budgets for r in results.ratios(_BACKGROUND, AUTO, b).values()]
    return Held(f"{_BACKGROUND} / {AUTO}, mean over budgets", mean(ratios), least=3.0)


def coverage(results: Results, estimators: Sequence[str], budgets: Sequence[int]) -> Iterator[list[str]]:
    """By estimator, the root mean square of errors over standard errors, and how many intervals hold the truth.

    The latter of all games together, and in brackets of the game where they are fewest.
    """
    for name in estimators:
        cells = []
        for budget in budgets:
            ours = [one for one in results.all if one.estimator == name and one.spread.get(budget)]
            inside: dict[str, list[bool]] = {}
            for one in ours:
                inside.setdefault(one.game, []).extend(one.inside[budget])
            shares = [100 * statistics.fmean(each) for each in (list(chain(*inside.values())), *inside.values()) if each]
            size = statistics.fmean(z * z for one in ours for z in one.spread[budget]) ** 0.5 if ours else 0.0
            cells.append(f"{size:.2f} / {shares[0]:.0f} % [{min(shares):.0f} %]" if ours else "")
        yield [name, *cells]
