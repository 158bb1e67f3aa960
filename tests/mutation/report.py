"""Results on disk, and the page that shows them."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path

from mutants import Mutant

Lines = list[dict[str, str | int]]
_REASONS = Path(__file__).with_name("survivors.toml")
_VERDICTS = ("killed", "survived", "timed out", "no test")


def load(path: Path) -> dict[str, Lines]:
    """Module -> what came of its mutants."""
    return json.loads(path.read_text()) if path.exists() else {}


def save(path: Path, results: dict[str, Lines]) -> None:
    """Write what :func:`load` reads."""
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def line(mutant: Mutant, verdict: str) -> dict[str, str | int]:
    """What is kept of a mutant."""
    return {"line": mutant.line, "before": mutant.before, "after": mutant.after, "verdict": verdict}


def summary(name: str, lines: Lines) -> str:
    """A module's row, and its survivors."""
    counts = Counter(entry["verdict"] for entry in lines)
    rows = [f"{name}: {len(lines)} mutants, " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS)]
    rows += [f"    {e['line']}: {e['before']}  ->  {e['after'] or '(removed)'}" for e in lines if _lived(e)]
    return "\n".join(rows)


def _lived(entry: dict[str, str | int]) -> bool:
    return entry["verdict"] in {"survived", "no test"}


def write(path: Path, results: dict[str, Lines]) -> None:
    """The page: a table by module, then each survivor with the reason that survivors.toml knows."""
    reasons = tomllib.loads(_REASONS.read_text())
    table = [_row(name, lines) for name, lines in sorted(results.items())]
    everything = [entry for lines in results.values() for entry in lines]
    survivors = [
        f"| {name}:{e['line']} | {_code(e['before'])} | {_code(e['after'])} | {reasons.get(name, {}).get(_change(e), '')} |"
        for name, lines in sorted(results.items())
        for e in lines
        if _lived(e)
    ]
    path.write_text(_PAGE.format(table="\n".join([*table, _row("all", everything)]), survivors="\n".join(survivors)))


def _change(entry: dict[str, str | int]) -> str:
    return f"{entry['before']} -> {entry['after']}"


def _row(name: str, lines: Lines) -> str:
    counts = Counter(entry["verdict"] for entry in lines)
    return f"| {name} | {len(lines)} | " + " | ".join(str(counts[verdict]) for verdict in _VERDICTS) + " |"


def _code(text: str | int) -> str:
    return f"`{str(text).replace('|', chr(92) + '|')}`" if text else "(removed)"


_PAGE = """# Mutation: changes of plugins that no test notices

Written by `tox -e mutation -- MODULES` (`tests/mutation`), which adds to what is here. Changes are those of
[cosmic-ray](https://cosmic-ray.readthedocs.io): another operator, number, comparison or truth value, a decorator or a `not`
less or more. In each module some places are drawn (`--sample`, `--seed`), and one change at each. Not drawn are annotations and
the `strict=` of `zip`, whose change can make no difference.

A mutant is judged by the tests of its family that ran the changed function (any of the module, where the change is outside of
functions), those that need least first, until one fails or `--seconds` of them have passed. A survivor is a gap in the tests,
or a change that makes no difference that matters; the last column says which, where somebody looked.

## By module

| module | mutants | killed | survived | timed out | no test |
| --- | --- | --- | --- | --- | --- |
{table}

## Survivors

| place | was | became | why |
| --- | --- | --- | --- |
{survivors}
"""
