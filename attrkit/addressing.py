"""What the options of wrapped methods are called: by their names where these are of one, else with the method's in front."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from attrkit.specs import Declared, MethodSpec, Option


@attrs.frozen
class Addresses:
    """The options of a wrapper and of the methods that it is applied to, together.

    Attributes:
        options: all of them, as they are called together; a name that several have is ``METHOD__option`` for a method.
        called: for each method, what its options are called together.
        shared: names that stand for several options, and for which.
    """

    options: tuple[Option, ...]
    called: tuple[Mapping[str, str], ...]
    shared: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, wrapper: Declared, inners: tuple[MethodSpec, ...]) -> Addresses:
        """Those of a wrapper and its methods."""
        own = {o.name for o in wrapper.options}
        times = Counter(o.name for inner in inners for o in inner.options)
        taken = own | {name for name, count in times.items() if count > 1}
        labels = _labels(inners)
        taken |= {o.name for inner in inners for o in inner.options if o.name.partition("__")[0] in labels}
        called = tuple(
            {o.name: f"{label}__{o.name}" if o.name in taken else o.name for o in inner.options}
            for label, inner in zip(labels, inners, strict=True)
        )
        shared = _shared(own, inners, called)
        theirs = [_renamed(o, names, shared) for inner, names in zip(inners, called, strict=True) for o in inner.options]
        return cls((*wrapper.options, *theirs), called, shared)

    def cost(self, costs: Iterable[str]) -> str:
        """The sum of the methods' costs, which are arithmetic over their options."""
        pairs = zip(costs, self.called, strict=True)
        return " + ".join(re.sub(r"\w+", lambda word, n=names: n.get(word[0], word[0]), cost) for cost, names in pairs)  # type: ignore[misc]


def _labels(inners: Iterable[MethodSpec]) -> list[str]:
    """A word for each method: its name, numbered from the second time on."""
    seen: Counter[str] = Counter()
    labels = []
    for inner in inners:
        word = re.sub(r"\W+", "_", inner.name).strip("_")
        seen[word] += 1
        labels.append(word if seen[word] == 1 else f"{word}_{seen[word]}")
    return labels


def _shared(own: set[str], inners: Iterable[MethodSpec], called: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """The options that each name stands for which is not just one of them, nor the wrapper's."""
    found: dict[str, tuple[str, ...]] = {}
    for inner, names in zip(inners, called, strict=True):
        known = {name: (name,) for name in names} | dict(getattr(inner, "shared", {}))  # those of a wrapped method
        for name, each in known.items():
            if name not in own:
                found[name] = (*found.get(name, ()), *(names[n] for n in each))
    addresses = {address for names in called for address in names.values()}
    return {name: each for name, each in found.items() if each != (name,) and (name in each or name not in addresses)}


def _renamed(option: Option, names: Mapping[str, str], shared: Mapping[str, tuple[str, ...]]) -> Option:
    name, said = names[option.name], option.help
    if name in shared.get(option.name, ()):
        said = f"{said} {option.name} sets it for every method that has it.".strip()
    return attrs.evolve(option, name=name, help=said)
