"""Shapley values as what each feature adds when features join one after another, in random orders."""

from collections.abc import Iterator
from math import ceil

import attrs
import torch
from torch import Tensor

from attrkit import Estimate, Game, Rows, estimator
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import answers, covers, drawing, note_baseline, note_interrupt, with_ends
from attrkit_perturbation.asking.spread import moderated
from attrkit_perturbation.estimators.exact import enumerated

_ROWS, _ORDERS = 0, 1  # draws


@estimator("permutation", references=("doi:10.1016/j.cor.2008.04.004",))
def permutation(game: Game, budget: int) -> Estimate:
    """The mean of what features add in random orders; with a background, each order takes a row of it.

    Scores add up to the change of the value. Standard errors are those of the mean over orders, a bit averaged over features.

    Raises:
        UsageError: the budget is not enough for one order.
    """
    return _estimate(game, budget, together=1)


@estimator("antithetic", references=("arXiv:2104.12199",))
def antithetic(game: Game, budget: int) -> Estimate:
    """The mean of what features add in random orders and the same orders backwards; with a background, each pair takes a row.

    Scores add up to the change of the value. Standard errors are those of the mean over pairs, a bit averaged over features; an
    order for which no reverse fits into the budget counts as half a pair.

    Raises:
        UsageError: the budget is not enough for one order.
    """
    return _estimate(game, budget, together=2)


def evaluations(game: Game, orders: int, together: int = 2) -> int:
    """How many evaluations some orders take, of which ``together`` share a row of the background."""
    return orders * (max(game.count, 1) - 1) + 1 + _replacements(game, ceil(orders / together))


def _replacements(game: Game, units: int) -> int:
    """How many replacements some units use: a background's rows take turns."""
    return units if drawing(game) else min(units, game.rows)


def _orders(game: Game, budget: int, together: int) -> int:
    """How many orders fit into the budget."""
    steps = game.count - 1
    if not steps:
        return together * _replacements(game, budget - 1)
    alone = together * ((budget - 1) // (together * steps + 1))  # each unit has a replacement of its own
    turns = (budget - 1 - game.rows) // steps
    orders = turns if not drawing(game) and ceil(turns / together) >= game.rows else alone
    if not orders and budget >= evaluations(game, 1):
        return 1
    return orders


def _estimate(game: Game, budget: int, together: int) -> Estimate:
    if covers(game, budget):
        return enumerated(game)
    orders = _orders(game, budget, together)
    if orders < 1:
        raise UsageError(
            f"n_samples={budget} is too small: one order of {game.count} features takes {evaluations(game, 1)} evaluations; "
            "give at least that, or group features by feature_mask"
        )
    return _Orders.drawn(game, orders, together).estimate()


@attrs.frozen(eq=False)
class _Orders:
    """Random orders of the features: ``ranks`` tells the place of each, for every unit of ``together`` orders."""

    game: Game
    number: int
    together: int
    ranks: Tensor
    rows: Tensor | None  # of each unit: what replaces features

    @classmethod
    def drawn(cls, game: Game, orders: int, together: int) -> "_Orders":
        units = ceil(orders / together)
        stream = game.generator(_ORDERS)
        ranks = [torch.randperm(game.count, generator=stream, dtype=torch.int32) for _ in range(units)]
        rows: Tensor | None = None
        if isinstance(game.replacing, Rows):
            rows = torch.randperm(game.rows, generator=game.generator(_ROWS))[torch.arange(units) % game.rows]
        elif drawing(game):
            rows = torch.arange(units)
        return cls(game, orders, together, torch.stack(ranks), rows)

    @property
    def steps(self) -> int:
        """How many coalitions one order takes."""
        return self.game.count - 1

    def coalitions(self) -> Iterator[Tensor]:
        """What has come first after each step, order by order."""
        for orders in self.game.blocks(self.number, self.steps):
            places = self.places(orders)[:, None]
            for steps in self.game.blocks(self.steps):  # several where one order is more than a block
                step = torch.arange(steps.start, steps.stop, dtype=places.dtype)
                yield (places <= step[:, None]).flatten(0, 1)

    def places(self, orders: range) -> Tensor:
        """The place of each feature in some of the orders, shape ``(orders, features)``."""
        order = torch.arange(orders.start, orders.stop)
        rank = self.ranks[order // self.together]
        return torch.where((order % self.together == 1)[:, None], self.steps - rank, rank)

    def estimate(self) -> Estimate:
        """Scores, and how they differ between units; of fewer orders where the user interrupts."""
        game = self.game
        used, which = (torch.zeros(1, dtype=torch.long), None) if self.rows is None else self.rows.unique(return_inverse=True)
        ends = 1 + len(used)
        total = ends + self.number * self.steps
        draws = None
        if self.rows is not None:
            units = torch.arange(self.number * self.steps) // max(self.steps, 1) // self.together
            draws = torch.cat([used[:1], used, self.rows[units]])
        moments, known, shape = _Moments(), torch.empty(0), torch.Size()  # known: the values with all features and with none
        waiting: list[Tensor] = []
        have, needed = 0, ends
        for values in answers(game, with_ends(self.coalitions(), game.count, len(used)), total, draws):
            waiting.append(values.flatten(1))
            have += len(values)
            if have < needed:
                continue
            left = torch.cat(waiting)
            if not len(known):
                known, left, shape = left[:ends], left[ends:], values.shape[1:]
                note_baseline(game, known[1:].unflatten(1, shape))
            waiting, needed = [self._add(moments, known, which, left)], self.steps * self.together
            have = len(waiting[0])
        if len(known) and waiting:  # an order without its reverse
            waiting = [self._add(moments, known, which, torch.cat(waiting))]
        if not moments.orders:
            raise KeyboardInterrupt
        if moments.orders < self.number:
            note_interrupt(ends + moments.orders * self.steps + sum(map(len, waiting)), total, ends + self.steps)
        change = known[0] - known[1:].mean(0)
        return moments.estimate((game.count, *shape), change, "antithetic" if self.together == 2 else "permutation")

    def _add(self, moments: "_Moments", ends: Tensor, which: Tensor | None, values: Tensor) -> Tensor:
        """Add the orders whose values are complete; returns the values that are left."""
        steps, last = self.steps, moments.orders
        left = self.number - last
        whole = min(len(values) // steps, left) if steps else left
        if whole < left:
            whole -= whole % self.together
        if not whole:
            return values
        empty = ends[1:2].expand(whole, -1)
        if which is not None:
            empty = ends[1 + which[torch.arange(last, last + whole) // self.together]]
        inner = values[: whole * steps].unflatten(0, (whole, steps)) if steps else values.new_empty(whole, 0, values.shape[1])
        path = torch.cat([empty[:, None], inner, ends[0].expand(whole, 1, -1)], 1).diff(dim=1)
        place = self.places(range(last, last + whole)).long()
        moments.add(path.gather(1, place[:, :, None].expand(-1, -1, path.shape[2])), self.together)
        return values[whole * steps :]


@attrs.define
class _Moments:
    """Sums over units of what each feature added, of which the first is subtracted to keep digits.

    A unit that is not complete, the last one, has the weight of its share.
    """

    orders: int = 0
    _units: int = 0
    _first: Tensor = attrs.field(factory=lambda: torch.empty(0))
    _weights: float = 0.0  # the sum of weights, and of their squares
    _squares: float = 0.0
    _sum: Tensor | float = 0.0  # of weight times change
    _sum2: Tensor | float = 0.0  # of squared weight times change
    _sum22: Tensor | float = 0.0  # of both squared

    def add(self, added: Tensor, together: int) -> None:
        """Take in what features added in some orders, shape ``(orders, features, columns)``, whole units but the last."""
        self.orders += len(added)
        whole = len(added) // together * together
        if whole:
            self._weigh(added[:whole].unflatten(0, (-1, together)).mean(1), 1.0)
        if whole < len(added):
            self._weigh(added[whole:].mean(0, keepdim=True), (len(added) - whole) / together)

    def _weigh(self, units: Tensor, weight: float) -> None:
        """Take in units of one weight, shape ``(units, features, columns)``."""
        if not self._units:
            self._first = units[0]
        change, count = units - self._first, len(units)
        total = change.sum(0)
        self._units += count
        self._weights, self._squares = self._weights + weight * count, self._squares + weight**2 * count
        self._sum = self._sum + weight * total
        self._sum2 = self._sum2 + weight**2 * total
        self._sum22 = self._sum22 + weight**2 * change.square().sum(0)

    def estimate(self, shape: tuple[int, ...], change: Tensor, name: str) -> Estimate:
        """The mean, brought to add up to ``change``, and its standard error where there are two units."""
        mean = self._sum / self._weights
        scores = self._first + mean
        scores = (scores + (change - scores.sum(0)) / len(scores)).reshape(shape)
        details = {"estimator": name, "orders": self.orders}
        if self._units < 2:
            return Estimate(scores, details=details)
        spread = self._sum22 - 2 * mean * self._sum2 + mean**2 * self._squares
        variances = torch.as_tensor(spread) * self._units / (self._units - 1) / self._weights**2
        variances, degrees = moderated(variances.clamp(min=0), self._units - 1)
        return Estimate(scores, variances.sqrt().reshape(shape), degrees, details)
