"""What the doctor found: about the model, about each method and each ruleset."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from attrkit.views.columns import LEAST, columns

MOST = 5  # problems of a ruleset that a table shows


@attrs.frozen
class MethodFinding:
    """Whether a method explains the model.

    Attributes:
        name: the method's name.
        works: whether it does, with the arguments ``given``.
        given: what has to be said beside the model, the inputs and the target: a layer, a neuron, baselines.
        reasons: why it does not work, or not without ``given``: what went wrong at each place that was tried.
        notes: what it warned about.
        cost: its passes, as its declaration counts them.
    """

    name: str
    works: bool
    given: Mapping[str, Any] = attrs.field(factory=dict)
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cost: str = ""

    @property
    def verdict(self) -> str:
        """In a word or two: ``works``, ``works with layer='...'``, ``fails``."""
        if not self.works:
            return "fails"
        said = [f"{k}={v!r}" if k == "layer" else f"{k}={v}" for k, v in self.given.items()]
        return f"works with {', '.join(said)}" if said else "works"


@attrs.frozen
class Fallen:
    """Calls of an operation that no entry of a ruleset governs, and what the ruleset's fallback makes of them."""

    operation: str
    count: int
    paths: tuple[str, ...]
    fallback: str  # like ``nonlinear: gradient``

    def __str__(self) -> str:
        places = ", ".join(path or "the model" for path in self.paths[:3])
        more = f" and {len(self.paths) - 3} more" if len(self.paths) > 3 else ""
        return f"{self.operation} ({self.count}) falls back to {self.fallback} in {places}{more}"


@attrs.frozen
class RulesetFinding:
    """Whether a ruleset governs the model.

    Attributes:
        name: the ruleset's name, or its file.
        works: whether it does, once its required parameters have values.
        needs: the parameters without a value.
        layer: the layer it was tried at; empty for the inputs.
        operations: how many calls of operations its rules govern.
        fallen: what nothing matched, by operation.
        problems: why it does not work, one line each.
        notes: what it warned about.
        mended: a ruleset that extends it and works; empty where nothing has to be mended, or no entry would help.
    """

    name: str
    works: bool
    needs: tuple[str, ...] = ()
    layer: str = ""
    operations: int = 0
    fallen: tuple[Fallen, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mended: str = ""

    @property
    def verdict(self) -> str:
        """In a few words."""
        said = ["works" if self.works else "fails"]
        said += [f"needs parameters {', '.join(self.needs)}"] if self.needs else []
        said += ["can be mended"] if self.mended else []
        return ", ".join(said)

    @property
    def details(self) -> tuple[str, ...]:
        """What there is to say, a line each; of a problem that is about what nothing matched, only that."""
        other = [p for p in self.problems if not any(f" {fallen.operation} in " in p for fallen in self.fallen)]
        more = [f"and {len(other) - MOST} more problems"] if len(other) > MOST else []
        return (*map(str, self.fallen), *other[:MOST], *more, *self.notes)


@attrs.frozen
class Diagnosis:
    """What works on a model with some inputs. ``str()`` is a table.

    Attributes:
        model: the model's class.
        inputs: the tensors that are explained, by name.
        output: what the model returns.
        target: what was explained in the trials.
        layer: a layer to attribute to where inputs cannot be; empty if there is none.
        healthy: whether the model can be called with these inputs at all.
        notes: what is to be known of the model.
        methods: a finding for each method.
        rulesets: a finding for each ruleset.
    """

    model: str
    inputs: Mapping[str, str]
    output: str = ""
    target: Any = None
    layer: str = ""
    healthy: bool = True
    notes: tuple[str, ...] = ()
    methods: tuple[MethodFinding, ...] = ()
    rulesets: tuple[RulesetFinding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether some method, or some ruleset, explains the model."""
        return any(m.works for m in self.methods) or any(r.works for r in self.rulesets)

    def __getitem__(self, name: str) -> MethodFinding | RulesetFinding:
        """The finding about a method or a ruleset. Raises KeyError if it was not tried."""
        findings: tuple[MethodFinding | RulesetFinding, ...] = (*self.rulesets, *self.methods)
        return {finding.name: finding for finding in findings}[name]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        methods = [attrs.asdict(m) | {"verdict": m.verdict} for m in self.methods]
        rulesets = [attrs.asdict(r) | {"verdict": r.verdict} for r in self.rulesets]
        return {"ok": self.ok} | attrs.asdict(self, recurse=False) | {"methods": methods, "rulesets": rulesets}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.model}: {', '.join(f'{name} {kind}' for name, kind in self.inputs.items())} -> {self.output or 'nothing'}"
        for note in self.notes:
            yield from _indented(f"- {note}", 0)
        if self.methods:
            yield ""
            yield from self._methods()
        if self.rulesets:
            yield ""
        width = max((len(r.name) for r in self.rulesets), default=0)
        for ruleset in self.rulesets:
            yield f"{ruleset.name.ljust(width)}  {ruleset.verdict}"
            for detail in ruleset.details:
                yield from _indented(detail, 4)
        for ruleset in self.rulesets:
            if ruleset.mended:
                yield f"\n# {ruleset.name}, mended for {self.model}\n{ruleset.mended.rstrip()}"

    def _methods(self) -> Iterator[str]:
        """Those with the same verdict together, those that work first; then the reasons."""
        ordered = sorted(self.methods, key=lambda m: (not m.works, len(m.given)))
        verdicts: dict[str, list[str]] = {}
        reasons: dict[str, list[str]] = {}
        for found in ordered:
            verdicts.setdefault(found.verdict, []).append(found.name)
            for why in (*found.reasons, *found.notes):
                if why not in self.notes:
                    reasons.setdefault(why, []).append(found.name)
        yield from columns([(verdict, ", ".join(names)) for verdict, names in verdicts.items()], ("verdict", "methods"))
        for why, names in reasons.items():
            yield from _indented(f"{', '.join(names)}: {why}", 0)


def _indented(text: str, by: int) -> list[str]:
    """A text in lines as wide as the terminal."""
    width = max(shutil.get_terminal_size().columns, 2 * LEAST)
    return textwrap.wrap(text, width, initial_indent=" " * by, subsequent_indent=" " * (by + 2), break_long_words=False)
