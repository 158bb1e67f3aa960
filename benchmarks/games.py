"""Games with exactly known Shapley values: small models on scikit-learn's bundled data, and a few synthetic ones."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from math import comb
from typing import Any, TypeAlias

import attrs
import numpy as np
import torch
from torch import Tensor, nn

Model: TypeAlias = Callable[[Tensor], Tensor]

_GRID = 4  # digits are 8 x 8 pixels, in patches of 2 x 2
_PATCH = 10  # pixels of the photographs' patches, each way
_TRAINED = 600  # of the digits
_BLOCK = 2**12  # rows that a model is asked for at once


@attrs.frozen
class Known:
    """A game whose Shapley values are known: ``model`` takes coalitions as rows of zeros and ones, float64."""

    name: str
    model: Model
    truth: Tensor

    @property
    def count(self) -> int:
        """How many players there are."""
        return len(self.truth)


@attrs.frozen
class Compared:
    """A model with one example and a background, and the Shapley values of its mean over the background."""

    name: str
    model: Model
    x: Tensor  # (1, features), float64
    rows: Tensor  # (background, features)
    truth: Tensor


class Tabulated(nn.Module):
    """The values of all coalitions; bit ``i`` of an index says whether player ``i`` is there."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.count = (len(table) - 1).bit_length()
        self.table, self.powers = nn.Buffer(table), nn.Buffer(2.0 ** torch.arange(self.count, dtype=torch.float64))

    def forward(self, coalitions: Tensor) -> Tensor:
        """Their values."""
        return self.table[(coalitions.double() @ self.powers).long()]


class Leaves(nn.Module):
    """Trees between two points: a leaf counts where the features that need the one are there and those that need the other not.

    ``needs`` has shape ``(leaves, features)``: 1 where the leaf is reached with the point's value only, -1 where with the
    baseline's only, 0 where with both.
    """

    def __init__(self, needs: Tensor, values: Tensor) -> None:
        super().__init__()
        self.needs, self.values = nn.Buffer(needs.double()), nn.Buffer(values.double())

    def forward(self, coalitions: Tensor) -> Tensor:
        """Their values."""
        wanted = self.needs.clamp(min=0).sum(1)
        return ((coalitions.double() @ self.needs.T) == wanted).double() @ self.values


class Perceptron(nn.Module):
    """One hidden layer of ReLUs, and the probability of the first of two classes, between two points."""

    def __init__(self, steps: Tensor, start: Tensor, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.steps, self.start, self.weight, self.bias = nn.Buffer(steps), nn.Buffer(start), nn.Buffer(weight), bias

    def forward(self, coalitions: Tensor) -> Tensor:
        """Their values."""
        return self.outer(torch.relu(coalitions.double() @ self.steps + self.start))

    def outer(self, hidden: Tensor) -> Tensor:
        """The output for values of the hidden layer."""
        return torch.sigmoid(hidden @ self.weight.to(hidden) + self.bias)


# Truth.


def coalitions(count: int) -> Tensor:
    """All coalitions as rows of zeros and ones, float64, in the order of :class:`Tabulated`."""
    return ((torch.arange(2**count)[:, None] >> torch.arange(count)) & 1).double()


def _weights(count: int) -> Tensor:
    """Shapley's weight of joining ``s`` others, for ``s`` from -1, which gets 0 as ``count`` does, shape ``(count + 2,)``."""
    inner = [1 / (count * comb(count - 1, size)) for size in range(count)]
    return torch.tensor([0.0, *inner, 0.0], dtype=torch.float64)


def shapley(table: Tensor) -> Tensor:
    """The Shapley values of tabulated games, from shape ``(2**count,)``."""
    count = (len(table) - 1).bit_length()
    weights = _weights(count)[1:][coalitions(count).sum(1).long()]
    found = []
    for i in range(count):
        without, joined = table.view(-1, 2, 2**i).unbind(1)
        found.append((weights.view(-1, 2, 2**i)[:, 0] * (joined - without)).sum())
    return torch.stack(found)


def shapley_of_leaves(leaves: Leaves) -> Tensor:
    """In closed form: a leaf is a game that those win together who need the point, unless one joins who needs the baseline."""
    positive, negative = leaves.needs > 0, leaves.needs < 0
    have, lack = positive.sum(1), negative.sum(1)

    def orders(first: Tensor, second: Tensor) -> Tensor:  # (first - 1)! second! / (first + second)!
        first, second = first.double(), second.double()
        return torch.exp(torch.lgamma(first) + torch.lgamma(second + 1) - torch.lgamma(first + second + 1))

    up = torch.where(have > 0, leaves.values * orders(have.clamp(min=1), lack), 0)
    down = torch.where(lack > 0, leaves.values * orders(lack.clamp(min=1), have), 0)
    return up @ positive.double() - down @ negative.double()


def shapley_by_halves(net: Perceptron, dtype: torch.dtype = torch.float32) -> Tensor:
    """By all coalitions: what each half of the players adds to the hidden layer is summed once, the pairs of halves are run.

    Coalitions of a size have one weight, so that sums over those of each size of the other half are all that is kept.
    """
    count, half = len(net.steps), len(net.steps) // 2
    left, right = coalitions(half), coalitions(count - half)
    ones = nn.functional.one_hot(right.sum(1).long()).to(dtype)
    near, far = (left @ net.steps[:half] + net.start).to(dtype), (right @ net.steps[half:]).to(dtype)
    hidden = torch.empty_like(far)
    of_left = torch.zeros(len(left), ones.shape[1], dtype=torch.float64)  # by the size of the right half
    of_right = torch.zeros(half + 1, len(right), dtype=torch.float64)  # by the size of the left half
    for i, size in enumerate(left.sum(1).long().tolist()):
        values = net.outer(torch.add(far, near[i], out=hidden).relu_())
        of_left[i] = values @ ones
        of_right[size] += values
    weights = _weights(count)
    return torch.cat([_half(left, of_left, weights), _half(right, of_right.T, weights)])


def _half(own: Tensor, sums: Tensor, weights: Tensor) -> Tensor:
    """The Shapley values of one half's players from sums of values, shape ``(coalitions of it, sizes of the other)``."""
    sizes = own.sum(1).long()[:, None] + torch.arange(sums.shape[1])
    with_it, without = (weights[sizes] * sums).sum(1), (weights[sizes + 1] * sums).sum(1)
    return with_it @ own - without @ (1 - own)


# Models.


def _data(name: str) -> tuple[Tensor, Tensor]:
    """Standardised features and labels of one of scikit-learn's data sets."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = torch.from_numpy(x).double()
    return (x - x.mean(0)) / x.std(0), torch.from_numpy(y)


def _trained(model: nn.Sequential, x: Tensor, loss: Callable[[Tensor], Tensor], steps: int) -> nn.Sequential:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()
    return model.eval().requires_grad_(requires_grad=False)


def _mlp(*sizes: int) -> nn.Sequential:
    layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


class _Probability(nn.Module):
    def __init__(self, model: nn.Module, label: int) -> None:
        super().__init__()
        self.model, self.label = model, label

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x).softmax(1)[:, self.label]
        return output


class _Output(nn.Module):
    def __init__(self, model: nn.Module, label: int) -> None:
        super().__init__()
        self.model, self.label = model, label

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x)[:, self.label]
        return output


def _diabetes() -> tuple[Tensor, Callable[[int], nn.Module]]:
    torch.manual_seed(0)
    x, y = _data("diabetes")
    y = (y - y.mean()) / y.std()
    model = _trained(_mlp(10, 32, 32, 1), x, lambda out: (out[:, 0] - y).square().mean(), 300)
    return x, lambda _: _Output(model, 0)


def _wine() -> tuple[Tensor, Callable[[int], nn.Module]]:
    torch.manual_seed(0)
    x, y = _data("wine")
    model = _trained(_mlp(13, 32, 32, 3), x, lambda out: nn.functional.cross_entropy(out, y), 100)
    return x, lambda i: _Probability(model, int(y[i]))


@cache
def _digits() -> tuple[nn.Module, Tensor, Tensor]:
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x).view(-1, 1, 8, 8).float() / 16, torch.from_numpy(y)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 16, 10)),
    )
    some = torch.randperm(len(x))[:_TRAINED]
    _trained(model, x[some], lambda out: nn.functional.cross_entropy(out, y[some]), 60)
    return model.double(), x.double(), y


# Games.


def _table(model: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, groups: Tensor) -> Tensor:
    """A model's values for all coalitions of groups of features."""
    with torch.no_grad():
        every = coalitions(int(groups.max()) + 1).bool()
        return torch.cat([model(torch.where(some[:, groups], x, baseline)) for some in every.split(_BLOCK)]).double()


def _tabulated(name: str, table: Tensor) -> Known:
    return Known(name, Tabulated(table), shapley(table))


def _tables(name: str, data: Callable[[], tuple[Tensor, Callable[[int], nn.Module]]], examples: int) -> Iterator[Known]:
    x, model = data()
    for i in _chosen(len(x), examples):
        yield _tabulated(name, _table(model(i), x[i], torch.zeros_like(x[i]), torch.arange(x.shape[1])))


def _chosen(total: int, examples: int) -> list[int]:
    """Examples spread over a data set, which may be sorted."""
    return [(2 * i + 1) * total // (2 * examples) for i in range(examples)]


def _patches(name: str, kind: Callable[[nn.Module, int], nn.Module], examples: int) -> Iterator[Known]:
    model, x, y = _digits()
    rows = torch.arange(8) // 2
    groups = _GRID * rows[:, None] + rows
    for i in _chosen(len(x), examples):
        label = int(y[i])
        yield _tabulated(name, _table(kind(model, label), x[i], torch.zeros_like(x[i]), groups[None]))


def cancer(examples: int = 1, hidden: int = 16) -> Iterator[Known]:
    """A perceptron's probability of a benign tumour, from 30 measures; half a minute of arithmetic for each example's truth."""
    torch.manual_seed(0)
    x, y = _data("breast_cancer")
    model = _trained(_mlp(30, hidden, 2), x, lambda out: nn.functional.cross_entropy(out, y), 100)
    first, last = (dict(layer.named_parameters()) for layer in (model[0], model[2]))
    weight, bias = last["weight"][1] - last["weight"][0], float(last["bias"][1] - last["bias"][0])
    for i in _chosen(len(x), examples):
        steps = x[i][:, None] * first["weight"].T  # the baseline, the mean, is zero
        net = Perceptron(steps, first["bias"], weight, bias)
        yield Known("breast cancer MLP, probability", net, shapley_by_halves(net))


def leaves(trees: list[Any], values: Callable[[Any], Any], x: Any, baseline: Any) -> Leaves:
    """Trees of scikit-learn between two points; ``values`` gives a tree's value at each node."""
    needs, outputs = [], []
    for tree in trees:
        low, high, nodes = _boxes(tree, len(x))
        near, far = ((low < point) & (point <= high) for point in (x.astype(np.float32), baseline.astype(np.float32)))
        reached = (near | far).all(1)
        needs.append((near[reached].astype(np.int8) - far[reached]).astype(np.int8))
        outputs.append(values(tree)[nodes[reached]])
    return Leaves(torch.from_numpy(np.concatenate(needs)), torch.from_numpy(np.concatenate(outputs)))


def _boxes(tree: Any, count: int) -> tuple[Any, Any, Any]:
    """Between which values of each feature each leaf lies, and the number of its node."""
    low, high = np.full((tree.node_count, count), -np.inf), np.full((tree.node_count, count), np.inf)
    for node in range(tree.node_count):  # a node's number is less than those of its children
        feature, threshold = tree.feature[node], tree.threshold[node]
        for child, bound in ((tree.children_left[node], high), (tree.children_right[node], low)):
            if child >= 0:
                low[child], high[child] = low[node], high[node]
                bound[child, feature] = threshold
    nodes = np.flatnonzero(tree.children_left < 0)
    return low[nodes], high[nodes], nodes


def _boosted(examples: int) -> Iterator[Known]:
    from sklearn.datasets import load_digits
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = load_digits(return_X_y=True)
    model = GradientBoostingClassifier(n_estimators=100, max_depth=3, subsample=0.5, random_state=0).fit(x, y % 2)
    trees = [one.tree_ for one in model.estimators_[:, 0]]
    for i in _chosen(len(x), examples):
        net = leaves(trees, lambda tree: model.learning_rate * tree.value[:, 0, 0], x[i], x.mean(0))
        yield Known("boosted trees, digits", net, shapley_of_leaves(net))


def _forest(examples: int) -> Iterator[Known]:
    """Digits' 64 pixels and the means of their 36 blocks of 3 x 3, from which a forest tells the number."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestRegressor

    x, y = load_digits(return_X_y=True)
    blocks = np.lib.stride_tricks.sliding_window_view(x.reshape(-1, 8, 8), (3, 3), axis=(1, 2)).mean((-1, -2))
    x = np.concatenate([x, blocks.reshape(len(x), -1)], 1)
    model = RandomForestRegressor(n_estimators=100, min_samples_leaf=5, max_features=0.3, random_state=0).fit(x, y)
    yield from _of_forest("random forest, digits", model, 0, x, examples)


def _of_forest(name: str, model: Any, label: int, x: Any, examples: int) -> Iterator[Known]:
    trees = [one.tree_ for one in model.estimators_]
    for i in _chosen(len(x), examples):
        net = leaves(trees, lambda tree: tree.value[:, 0, label] / len(trees), x[i], x.mean(0))
        yield Known(name, net, shapley_of_leaves(net))


def _photographs() -> Iterator[Known]:
    """Which of two photographs a patch of 10 x 10 pixels is from: a mixture of pixels looks like neither."""
    from sklearn.datasets import load_sample_images
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.image import extract_patches_2d

    images = [image.mean(2) for image in load_sample_images().images]
    found = [extract_patches_2d(image, (_PATCH, _PATCH), max_patches=1000, random_state=0) for image in images]
    x = np.concatenate(found).reshape(-1, _PATCH**2)
    model = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, random_state=0).fit(x, np.repeat([0, 1], 1000))
    yield from _of_forest("random forest, photographs", model, 1, x, 1)


#: How the games of the suite are made, for a number of examples; in the order of their numbers of players.
SUITE: dict[str, Callable[[int], Iterator[Known]]] = {
    "diabetes": partial(_tables, "diabetes MLP", _diabetes),
    "wine": partial(_tables, "wine MLP, probability", _wine),
    "digits": partial(_patches, "digits CNN, logit", _Output),
    "digits_probability": partial(_patches, "digits CNN, probability", _Probability),
    "cancer": lambda examples: cancer(min(2, examples)),
    "boosted": _boosted,
    "forest": _forest,
}


def held_out() -> Iterator[Known]:
    """Games that no estimator was made for: synthetic ones of twelve players, and one that is almost wholly even."""
    every, generator = coalitions(12), torch.Generator().manual_seed(0)
    share = torch.rand(12, generator=generator, dtype=torch.float64)
    yield _tabulated("airport", (every * torch.arange(1.0, 13.0)).max(1).values)
    yield _tabulated("weighted voting", (every @ share > share.sum() / 2).double())
    yield _tabulated("noise", every @ share + 0.3 * torch.randn(len(every), generator=generator, dtype=torch.float64))
    yield _tabulated("parity of five", every @ share + every[:, :5].sum(1) % 2)
    yield from _photographs()


def backgrounds(examples: int, rows: int = 100) -> Iterator[Compared]:
    """Two of the suite's models, compared with the mean over rows of their data."""
    for name, data in (("diabetes MLP", _diabetes), ("wine MLP, probability", _wine)):
        x, model = data()
        chosen = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:rows]]
        for i in _chosen(len(x), examples):
            groups = torch.arange(x.shape[1])
            table = torch.stack([_table(model(i), x[i], row, groups) for row in chosen]).mean(0)
            yield Compared(name, model(i), x[i : i + 1], chosen, shapley(table))
