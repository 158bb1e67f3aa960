"""A private copy of a model that shares its parameters, kept for the next call and renewed after any edit."""

from __future__ import annotations

import copy
import threading
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import UsageError
from attrkit.runner.census import Census
from attrkit.runner.glance import Glance
from attrkit.runner.learnt import Learnt
from attrkit.runner.training import in_training

_KEPT = 4  # replicas that wait per model: as many calls as usually run at the same time


class CopyRefusedError(Exception):
    """This model cannot be copied; the caller works on the model itself, with guarded hooks."""


@attrs.define(eq=False)
class Replica:
    """A copy of the module tree. Parameters share storage and are not tracked; buffers are refreshed at every use."""

    root: nn.Module
    _shared: list[Tensor]  # buffers and plain tensors, in the order of a census
    _glance: Glance

    def refresh(self, now: list[Tensor]) -> None:
        """Take over the current values of the original's buffers and plain tensors."""
        if self._shared:
            with torch.no_grad():
                torch._foreach_copy_(self._shared, now)  # pyright: ignore[reportPrivateImportUsage]

    def pristine(self) -> bool:
        """Whether no forward pass left anything on it."""
        if self._glance.holds():
            return True
        now = Census(self.root)
        if now.tokens != self._glance.tokens:
            return False
        self._glance = Glance.of(now)  # other objects, which are the same
        return True


@attrs.define(eq=False)
class _Pool:
    """The replicas of one model as it was when a census was taken of it."""

    glance: Glance
    in_training: str  # the class of a module that training mode changes and that is in it
    waiting: list[Replica] = attrs.field(factory=list)
    refused: str = ""
    learnt: Learnt = attrs.field(factory=Learnt)  # see Forward
    draws: bool | None = None  # whether a forward pass advances the global random generator; None: not seen yet


_pools: WeakKeyDictionary[nn.Module, _Pool] = WeakKeyDictionary()
_lock = threading.Lock()


def _alias(parameter: nn.Parameter) -> Tensor:
    """The same storage as a tensor that records no gradient, of the same class."""
    if torch.nn.parameter.is_lazy(parameter):
        raise UsageError("model has parameters without values (a lazy module); run it once on an example before explaining it")
    bare = parameter.detach()
    if type(parameter) is nn.Parameter:
        return nn.Parameter(bare, requires_grad=False)
    alias = torch.Tensor._make_subclass(type(parameter), bare, require_grad=False)
    vars(alias).update(vars(parameter))
    return alias


def _copied(census: Census) -> Replica:
    root = census.root
    if census.leads_back():
        raise CopyRefusedError("a hook or a function attribute refers to the model's own modules")
    memo: dict[int, Any] = {key: _alias(p) for key, p in census.parameters.items()}
    memo |= {key: t.detach().clone() for key, t in (census.buffers | census.tensors).items()}
    try:
        twin = copy.deepcopy(root, memo)
    except Exception as error:  # a model may hold anything: locks, files, sharded tensors
        raise CopyRefusedError(f"copying it raised {type(error).__name__}: {error}") from error
    shared = {id(m) for m in twin.modules()} & census.modules.keys()
    pairs = zip(twin.parameters(), root.parameters(), strict=True)
    if shared or any(t.data_ptr() != p.data_ptr() for t, p in pairs):
        raise CopyRefusedError("its copy is not independent, or does not share its parameters")
    found = Census(twin)
    copies = [*found.buffers.values(), *found.tensors.values()]
    if [t.shape for t in copies] != [t.shape for t in (*census.buffers.values(), *census.tensors.values())]:
        raise CopyRefusedError("its copy holds other tensors")
    return Replica(twin, copies, Glance.of(found))


def _pool(root: nn.Module) -> tuple[_Pool, Census | None]:
    """The pool of a model as it is now, and the census where one had to be taken."""
    with _lock:
        pool = _pools.get(root)
        if pool is not None and pool.glance.holds():
            return pool, None
        if any(isinstance(m, torch.jit.ScriptModule) for m in root.modules()):
            raise CopyRefusedError("it holds TorchScript")
        census = Census(root)
        if pool is None or pool.glance.tokens != census.tokens or census.unread:
            pool = _pools[root] = _Pool(Glance.of(census), in_training(root))
        else:
            pool.glance = Glance.of(census)
        return pool, census


@attrs.define
class Lease:
    """A replica that belongs to one call until it is given back."""

    original: nn.Module
    replica: Replica
    pool: _Pool

    @classmethod
    def take(cls, original: nn.Module) -> Lease:
        """A replica of the model as it is now.

        Raises:
            CopyRefusedError: the model cannot be copied.
        """
        pool, census = _pool(original)
        if pool.refused:
            raise CopyRefusedError(pool.refused)
        with _lock:
            replica = pool.waiting.pop() if pool.waiting else None
        if replica is None:
            try:
                replica = _copied(census or Census(original))
            except CopyRefusedError as refusal:
                pool.refused = str(refusal)
                raise
        replica.refresh(pool.glance.values())
        return cls(original, replica, pool)

    def refuse(self, reason: str) -> None:
        """Never copy this model again: a forward pass of the copy ran the original's modules."""
        self.pool.refused = reason
        self.pool.waiting.clear()

    def give_back(self) -> None:
        """Keep the replica for the next call, unless a forward pass left something on it."""
        if self.replica.pristine():
            with _lock:
                if len(self.pool.waiting) < _KEPT and not self.pool.refused:
                    self.pool.waiting.append(self.replica)
