"""What can be changed in a module, and a sample of it."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names


@attrs.frozen
class Module:
    """A module of plugins, and where its source is."""

    name: str
    path: Path


@attrs.frozen
class Mutant:
    """One change: the line's number, the line before and after, and the whole source after."""

    module: Module
    line: int
    before: str
    after: str
    source: str = attrs.field(repr=False)


def modules_of(names: Sequence[str]) -> Iterator[tuple[str, list[Module]]]:
    """Each package among ``names`` with its modules; without names, every package of plugins that is installed."""
    installed = (found.name for found in pkgutil.iter_modules())
    asked = names or [name for name in installed if name.startswith("attrkit_") and name != "attrkit_rulesets"]  # that is YAML
    families = defaultdict(list)
    for name in asked:
        families[name.partition(".")[0]] += list(_below(name))
    yield from families.items()


def _below(name: str) -> Iterator[Module]:
    """A module, or every one of a package that is more than names for what others define."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        message = f"there is no module {name}"
        raise SystemExit(message)
    paths = sorted(Path(found.origin).parent.rglob("*.py")) if found.submodule_search_locations else [Path(found.origin)]
    top = Path(found.origin).parents[name.count(".") + bool(found.submodule_search_locations)]
    for path in paths:
        if path.name != "__init__.py":
            yield Module(".".join(path.relative_to(top).with_suffix("").parts), path)


def sample(module: Module, count: int, seed: int) -> list[Mutant]:
    """At ``count`` places of the source (0: at all), one change each; the same for the same source and seed."""
    source = module.path.read_text()
    places = _places(source)
    draw = random.Random(f"{module.name} {seed}")
    order = draw.sample(sorted(places), len(places))
    mutants: list[Mutant] = []
    for place in order:
        changes = draw.sample(places[place], len(places[place]))
        made = (_mutant(module, source, *change) for change in changes)
        mutants += [mutant for mutant in made if mutant is not None][:1]
        if len(mutants) == count:
            break
    return sorted(mutants, key=lambda mutant: mutant.line)


def _places(source: str) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Position -> the operators that change it, each with its count of earlier positions."""
    nodes = list(ast_nodes(get_ast(source)))
    places = defaultdict(list)
    for name in operator_names():
        if (operator := get_operator(name)).arguments():
            continue
        positions = (start for node in nodes for start, _ in operator().mutation_positions(node))
        for occurrence, start in enumerate(positions):
            places[start].append((name, occurrence))
    return places


def _mutant(module: Module, source: str, operator: str, occurrence: int) -> Mutant | None:
    """The mutant, or None where the change is no Python, or only one of an annotation."""
    changed = mutate_code(source, get_operator(operator)(), occurrence)
    try:
        if changed is None or _meaning(changed) == _meaning(source):
            return None
    except SyntaxError:
        return None
    pairs = list(zip(source.splitlines(), changed.splitlines(), strict=False))
    line, (before, after) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    gone = len(changed.splitlines()) < len(source.splitlines())
    return Mutant(module, line, before.strip(), "" if gone else after.strip(), changed)


def _meaning(source: str) -> str:
    """What runs: the tree without annotations."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.Call):  # zip(strict=True) finds mistakes of ours, of which there are none
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "strict"]
    return ast.dump(tree)
