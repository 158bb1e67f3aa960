"""How exact coalition methods are and what they cost, beside other libraries: ``python -m benchmarks.coalitions``."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import torch

from benchmarks import coalition_errors as errors
from benchmarks import coalition_speed as speed
from benchmarks.bars import HEAD, table
from benchmarks.games import SUITE, backgrounds, held_out
from benchmarks.peers_of_coalitions import quietly

_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks_coalitions.md"
_PARTS = ("errors", "background", "speed")
_BUDGET = 20  # evaluations for each player, at which the bars are
_SUITE = """\
The games of the suite have exactly known Shapley values: by all coalitions up to 16 players, and for the breast cancer MLP
by all 2^30, of which the hidden layer's sums are those of two halves; in closed form for trees. Every estimator is called on
the same games with the same number of evaluations, {repeats} times on each of some examples. Its error is the Euclidean norm
of the difference to the truth relative to that of the truth; of a game, the median. *Evaluations* are those that the model
saw, of those that were granted: shap and Captum round to whole permutations. M is the number of players. Ratios of errors
are geometric means over the games [least, largest]."""
_SPEED = """\
*raw* are forward passes over as many rows, which are built already, of the batch size that is fastest among powers of two.
All sides run in one process on one thread, in turns, after calls to warm up. Ratios are of processor time, medians of the
rounds' ratios. Captum has the `perturbations_per_eval` that is fastest among {per_eval}. *Rows* are
those of the model for each example that the method needs, and in brackets those it asked for where that is another number."""


def _errors(given: argparse.Namespace) -> Iterator[str]:
    factors = (5, 20) if given.quick else errors.FACTORS
    games = list(chain.from_iterable(SUITE[name](given.examples) for name in given.games))
    results = errors.run([(game, name, factors, given.repeats) for game in games for name in errors.names()], given.jobs)
    ours = [errors.AUTO, errors.LEVERAGE]
    tasks = [(game, name, factors, 3 * given.repeats) for game in held_out() for name in ours]
    others = errors.run(tasks, given.jobs)
    yield "## Errors"
    yield _SUITE.format(repeats=given.repeats)
    bars = [*errors.held(results, _BUDGET), errors.worst(results, factors, "suite"), errors.worst(others, factors, "held-out")]
    yield table(HEAD, (one.cells for one in bars))
    for budget in factors:
        yield f"### Errors at {budget}M"
        yield table(["estimator", *results.games, "evaluations"], errors.medians(results, errors.names(), budget))
    yield "### Ratios of errors"
    peers = [name for name in errors.names() if name not in errors.OURS]
    pairs = [(peer, own) for own in ours for peer in peers] + [
        (name, errors.AUTO) for name in errors.OURS if name != errors.AUTO
    ]
    yield table(["worse / better", *(f"{b}M" for b in factors)], errors.means(results, pairs, factors))
    yield "### Held-out games: auto / leverage"
    every = {b: others.ratios(errors.AUTO, errors.LEVERAGE, b) for b in factors}
    yield table(
        ["game", *(f"{b}M" for b in factors)], ([g, *(f"{every[b].get(g, 0):.2f}" for b in factors)] for g in others.games)
    )
    yield "### Root mean square of error / standard error, and intervals of 95 % that hold the truth [in the worst game]"
    yield table(["estimator", *(f"{b}M" for b in factors)], errors.coverage(results, list(errors.OURS), factors))
    yield from _failures(chain(results.failures, others.failures))


def _background(given: argparse.Namespace) -> Iterator[str]:
    rows = (1000, 10000) if given.quick else errors.ROWS
    games = list(backgrounds(min(2, given.examples)))
    results = errors.run([(game, name, rows, given.repeats) for game in games for name in errors.with_background()], given.jobs)
    yield "## Errors with a background of 100 rows"
    yield table(HEAD, [errors.held_background(results, rows).cells])
    for budget in rows:
        yield f"### Errors at {budget} forward rows"
        yield table(["estimator", *results.games, "evaluations"], errors.medians(results, errors.with_background(), budget))
    yield from _failures(results.failures)


def _speed(given: argparse.Namespace) -> Iterator[str]:
    yield "## Speed"
    yield _SPEED.format(per_eval=", ".join(map(str, speed.PER_EVAL)))
    sys.stdout.write(f"{table(speed.HEAD, [])}\n")
    rows = []
    for case in chain(speed.large(), speed.small()):
        if given.only in f"{case.net.name}: {case.name}":
            rows.append(speed.cells(speed.measure(case, given.rounds, given.seconds)))
            sys.stdout.write(f"| {' | '.join(rows[-1])} |\n")
            sys.stdout.flush()
    yield table(speed.HEAD, rows)


def _failures(found: Iterable[str]) -> Iterator[str]:
    if lines := [f"- {one}" for one in found]:
        yield "Not measured:\n\n" + "\n".join(lines)


def main() -> None:
    """Measure what the arguments choose."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coalitions", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--games", nargs="+", choices=SUITE, default=list(SUITE))
    parser.add_argument("--only", metavar="NAME", default="", help="the cases of speed whose names contain this")
    parser.add_argument("--quick", action="store_true", help="few repeats, examples and rounds, for developing")
    parser.add_argument("--repeats", type=int, help="of each estimate (default: 10)")
    parser.add_argument("--examples", type=int, help="of each game (default: 3)")
    parser.add_argument("--rounds", type=int, help="samples of each side of speed (default: 9)")
    parser.add_argument("--seconds", type=float, default=15.0, help="after which a case of speed starts no further round")
    parser.add_argument("--jobs", type=int, default=2, help="processes that measure errors (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"renew docs/{_DOCUMENT.name}")
    given = parser.parse_args()
    given.repeats = given.repeats or (2 if given.quick else 10)
    given.examples = given.examples or (1 if given.quick else 3)
    given.rounds = given.rounds or (3 if given.quick else 9)
    if given.write and (given.quick or given.only or given.parts != list(_PARTS) or given.games != list(SUITE)):
        parser.error("--write is for everything")
    quietly()
    torch.set_num_threads(1)
    document = ["# Benchmarks of coalition methods", "Written by `python -m benchmarks.coalitions --write`; do not edit."]
    for part, measure in (("errors", _errors), ("background", _background), ("speed", _speed)):
        for piece in measure(given) if part in given.parts else ():
            document.append(piece)
            sys.stdout.write(f"\n{piece}\n")
            sys.stdout.flush()
    if given.write:
        _DOCUMENT.write_text("\n\n".join(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
