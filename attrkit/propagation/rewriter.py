"""Seeing every operation of a forward pass, and giving those that a ruleset governs another backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrkit.errors import UngovernedError, warn
from attrkit.propagation.audit import LINEAR, ungoverned_nodes
from attrkit.propagation.binding import Binding, Site, kind_of
from attrkit.propagation.calls import Call, Made, Row
from attrkit.propagation.modulepath import ModulePath
from attrkit.propagation.operations import RESHAPES, Operation, live, writes
from attrkit.propagation.step import Gate, Governed, Governing, Kept, OperationStep
from attrkit.registry import registry
from attrkit.rulesets.vocabulary import GROUPS, members


@attrs.define(eq=False)
class Rewriter:
    """A bound ruleset at work on one forward pass after the other."""

    binding: Binding
    operations: Mapping[Callable[..., Any], Operation]
    report: list[Row] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    _modules: ModulePath = attrs.field(factory=lambda: ModulePath({}))
    _kept: dict[int, list[Kept]] = attrs.field(factory=dict)
    _treated: set[Any] = attrs.field(factory=set)
    _sites: list[Site] = attrs.field(factory=list)
    _warned: list[str] = attrs.field(factory=list)
    _rank: int = 0

    @property
    def path(self) -> str:
        """The path of the running module."""
        return self._modules.path

    @property
    def merges(self) -> bool:
        """Whether a batch norm is merged into the linear map before it."""
        return "merge_batch_norm" in self.binding.ruleset.canonize

    @contextmanager
    def active(
        self, root: nn.Module | None, guard: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> Iterator[Callable[[Tensor], Tensor]]:
        """Govern what this thread computes inside the block; yields the gate for attributed tensors."""
        self.binding.restart()
        self.report, self.problems, self._sites, self._warned = [], [], [], []
        self._kept, self._treated, self._rank = {}, set(), 0
        with ModulePath.followed(root, guard) as self._modules, _Interception(self):
            yield self.gate

    # What handlers ask for.

    def governing(self, call: Call, x: Any, *, exact: bool = False) -> Governing | None:
        """The rule for a call, noted in the report; None when it keeps its own backward pass.

        ``exact`` says that its own backward pass is LRP-0, so that no entry has to match.
        """
        reads_input = (made := self.made(x)) is not None and made.gated is not None
        site = Site(call.operation, self.path, self._modules.classes, len(self._sites), self._rank, reads_input)
        self._sites.append(site)
        self._rank += site.operation in GROUPS["linear_like"]
        found = self.binding.governing(site)
        if found is None and (offered := registry.manager.hook.attrkit_rule_for(operation=call.operation, path=self.path)):
            found = Governing(offered[0], dict(offered[1]), "attrkit_rule_for")
        if found is None and any(map(live, call.args)):
            if exact:
                self.report.append(Row(site.path, site.operation, "own gradient"))
            else:
                found = self.fall_back(site.operation, "no entry matches it")
        if found is not None:
            if site.operation not in members(found.rule.operations):
                defined = ", ".join(sorted(found.rule.operations))
                self.problem(
                    site.operation, f"rule {found.rule.name!r} is not defined for it; it is for {defined}", found.origin
                )
            self.report.append(Row(site.path, site.operation, found.rule.name, found.parameters, found.entry, found.origin))
        return found

    def fall_back(self, operation: str, reason: str) -> Governing | None:
        """What the ruleset's fallback says about an operation without a rule."""
        kind = kind_of(operation)
        choice = getattr(self.binding.ruleset.fallback, kind)
        if choice == "pass":
            spec = registry.rule("pass")
            return Governing(spec, spec.resolve({}), f"fallback.{kind}")
        self.report.append(Row(self.path, operation, "own gradient", entry=f"fallback.{kind}"))
        if choice == "error":
            self.problem(operation, f"{reason}; add an entry for it, or set fallback.{kind}: gradient")
        elif choice == "warn":
            self._warned.append(f"no rule governs {operation} at {self.path or 'the model'}: {reason}")
        return None

    def problem(self, operation: str, text: str, origin: str = "") -> None:
        """Note what makes the ruleset unfit for this model."""
        ruleset = self.binding.ruleset
        self.problems.append(f"{origin or ruleset.origin or ruleset.name}: {operation} in {self.path or 'the model'}: {text}")

    def made(self, x: Any) -> Made | None:
        """How ``x`` was made, unless an operation in place has changed it since."""
        made: Made | None = getattr(x, "_attrkit_made", None)
        return made if made is not None and made.version == x._version else None

    def gate(self, x: Tensor) -> Tensor:
        """What goes on from an attributed tensor: the same values, where what is carried turns into relevance."""
        if self.binding.carries == "gradient":
            return x.clone()
        y: Tensor = Gate.apply(x)  # type: ignore[no-untyped-call]
        y._attrkit_made = Made(y._version, gated=x)  # type: ignore[attr-defined]
        return y

    def handed_through(self, call: Call, x: Tensor) -> Tensor:
        """The output of a homogeneous function of each entry, whose own backward pass hands relevance through.

        But for relevance at an output of 0, which no multiple of it can carry: where a rule hands on relevance as such, that
        connects to what went in.
        """
        if not self.binding.hands_on_relevance:
            output: Tensor = call.run()
            return output
        before = x.clone() if writes(call.function, call.args, call.kwargs) else x
        output = call.run()
        output._attrkit_made = Made(output._version, passed=before)  # type: ignore[attr-defined]
        return output

    def governed(self, x: Tensor, compute: Callable[[], Tensor], step: OperationStep, governing: Governing) -> Tensor:
        """The result of ``compute`` with a rule for its backward pass, connected around the gate where that saves relevance."""
        step.kept_input = self.keep(x.detach())
        source = x
        while governing.rule.returns == "relevance" and (made := self.made(source)) is not None and made.passed is not None:
            source = made.passed
        if source is not x:
            step.kept_source = self.keep(source.detach())
        if (made := self.made(source)) is not None and made.gated is not None:
            source, step.before_gate = made.gated, True
        return self.connected(source, compute, step, governing)

    def connected(self, source: Tensor, compute: Callable[[], Tensor], step: OperationStep, governing: Governing) -> Tensor:
        """The result of ``compute``, whose backward pass leads to ``source``."""
        y: Tensor = Governed.apply(source, compute, step, governing, self.keep)  # type: ignore[no-untyped-call]
        if step.map is not None:
            y._attrkit_made = Made(y._version, step=step, governing=governing, source=source)  # type: ignore[attr-defined]
        return y

    def hooked(self, output: Tensor, x: Tensor, governing: Governing, call: Call) -> Tensor:
        """An output whose own backward pass starts from what a rule makes of its relevance."""
        step = OperationStep(call.operation, self.path, kept_input=Kept(x.detach()), kept_output=self.keep(output.detach()))

        def hook(carried: Tensor) -> Tensor:
            with torch._C.DisableTorchFunction():
                return governing.applied(step, carried)

        output.register_hook(hook)
        self.treated(output)
        return output

    def treated(self, output: Any, *inputs: Any) -> Any:
        """An output whose operation was decided about: the audit passes by all its nodes down to the inputs'."""
        stop = {t.grad_fn for t in inputs if isinstance(t, Tensor)}
        waiting = [output.grad_fn] if isinstance(output, Tensor) else []
        while waiting:
            node = waiting.pop()
            if node is not None and node not in self._treated and node not in stop:
                self._treated.add(node)
                waiting += [f for f, _ in node.next_functions] if inputs else []
        return output

    def keep(self, value: Tensor) -> Kept:
        """A value for the backward pass, copied before an operation in place reaches it."""
        kept = Kept(value)
        self._kept.setdefault(value.untyped_storage().data_ptr(), []).append(kept)
        return kept

    def secure(self, x: Tensor) -> None:
        """Copy what is kept of ``x``, which is about to be written into."""
        for kept in self._kept.pop(x.untyped_storage().data_ptr(), ()):
            kept.secure()

    # What the interception asks for.

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One torch function, governed or not."""
        if not torch.is_grad_enabled():
            return function(*args, **kwargs)
        args = tuple(map(_untracked, args))
        kwargs = {k: _untracked(v) for k, v in kwargs.items()}
        if args and isinstance(args[0], Tensor) and writes(function, args, kwargs):
            self.secure(args[0])
        if function in RESHAPES and args and (made := self.made(args[0])) is not None:
            return self._reshaped(made, function, args, kwargs)
        operation = self.operations.get(function)
        if operation is not None and not args and "input" in kwargs:
            args, kwargs = (kwargs["input"],), {k: v for k, v in kwargs.items() if k != "input"}
        if operation is None:
            return function(*args, **kwargs)
        return operation.govern(Call(self, operation.name, function, args, kwargs))

    def _reshaped(self, made: Made, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What only moves entries around keeps what is known of how they were made."""
        if made.gated is not None:
            return self.gate(function(made.gated, *args[1:], **kwargs))
        output = function(*args, **kwargs)
        if made.passed is not None:
            output._attrkit_made = Made(output._version, passed=self.call(function, (made.passed, *args[1:]), kwargs))
        return output

    # Afterwards.

    def plan(self) -> None:
        """Settle the positions that depend on the whole pass, from the pass that was just made."""
        self.binding.plan(self._sites)

    def audit(self, value: Tensor) -> None:
        """Report what no rule governed on the way from the inputs to ``value``.

        Raises:
            UngovernedError: the ruleset's fallback for something that was found is ``error``.
        """
        ruleset = self.binding.ruleset
        for name, count in ungoverned_nodes(value, self._treated).items():
            kind = "linear" if name in LINEAR else "unknown"
            choice = getattr(ruleset.fallback, kind)
            found = f"the model uses operation {name} ({count} times), which no rule can govern yet"
            if choice == "error":
                advice = f"set fallback.{kind}: warn to keep its own gradient"
                self.problems.append(f"{ruleset.origin or ruleset.name}: {found}; {advice}")
            elif choice == "warn":
                self._warned.append(f"{found}: its own gradient is kept")
        if self.problems:
            raise UngovernedError(list(dict.fromkeys(self.problems)))
        for text in dict.fromkeys(self._warned):
            warn(f"ruleset {self.binding.ruleset.name}: {text}")


def _untracked(value: Any) -> Any:
    """Parameters without gradients: what requires one then is what depends on the attributed tensors."""
    if isinstance(value, nn.Parameter) and value.requires_grad:
        return value.detach()
    if isinstance(value, list | tuple) and any(isinstance(v, nn.Parameter) for v in value):
        return type(value)(map(_untracked, value))
    return value


class _Interception(TorchFunctionMode):
    """Hands every torch function of this thread to a rewriter."""

    def __init__(self, rewriter: Rewriter) -> None:
        super().__init__()
        self._rewriter = rewriter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # torch's signature
        return self._rewriter.call(func, args, kwargs or {})
