"""Forward passes within a backward pass: what checkpoints compute once more must be governed as it was at first."""

from __future__ import annotations

import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import attrs

from attrkit.propagation.governing import Governing

Key = tuple[str, str]  # the path of a module, and the operation there


@attrs.define
class Recomputation:
    """Remembers what governed each call, by module and operation, for when these calls come again."""

    running: bool = False
    _decisions: dict[Key, list[Governing | None]] = attrs.field(factory=lambda: defaultdict(list))
    _seen: Counter[Key] = attrs.field(factory=Counter)

    def decide(self, path: str, operation: str, governing: Governing | None) -> None:
        """Remember what governs the next call."""
        self._decisions[path, operation].append(governing)

    def decided(self, path: str, operation: str) -> Governing | None:
        """What governed this call when it was made first."""
        key = path, operation
        known = self._decisions[key]
        self._seen[key] += 1
        return known[(self._seen[key] - 1) % len(known)] if known else None

    @contextmanager
    def begun(self) -> Iterator[None]:
        """From here on calls come again."""
        self.running = True
        try:
            yield
        finally:
            self.running = False


@lru_cache(maxsize=64)
def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch that is written in Python, whose body is intercepted instead of the call of it."""
    names = function.__globals__
    blind = {name: _no for name in names if name.startswith("has_torch_function")}
    copy = types.FunctionType(
        function.__code__, {**names, **blind}, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _no(*_: Any) -> bool:
    return False
