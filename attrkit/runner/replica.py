"""A private copy of a model that shares its parameters, kept for the next call and renewed after any edit."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import UsageError
from attrkit.runner.census import Census
from attrkit.runner.chance import Chance
from attrkit.runner.glance import Glance
from attrkit.runner.learnt import Learnt
from attrkit.runner.training import in_training

_KEPT = 4  # replicas that wait per model and device: as many calls as usually run at the same time


class CopyRefusedError(Exception):
    """This model cannot be copied; the caller works on the model itself, with guarded hooks."""


@attrs.define(eq=False)
class Replica:
    """A copy of the module tree, not tracked. It shares the storage of parameters, unless it is on another ``device``.

    What is not shared, buffers at least, is refreshed at every use; ``apart`` are the numbers of parameters among that.
    """

    root: nn.Module
    device: torch.device | None  # None for where the original is
    _copies: list[Tensor]  # of buffers and plain tensors, in the order of a census, and of parameters
    _apart: list[int]
    _glance: Glance
    _compiled: Callable[..., Any] | None = None

    def compiled(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, which calls it, by torch's compiler."""
        if self._compiled is None:
            pristine = self.pristine()
            self._compiled = torch.compile(call, dynamic=False)
            if pristine:  # but for what that leaves on it
                self._glance = Glance.of(Census(self.root))
        return self._compiled

    def refresh(self, original: nn.Module, now: list[Tensor]) -> None:
        """Take over the original's current values; ``now`` are those of its buffers and plain tensors."""
        if self._apart:
            parameters = list(original.parameters())
            now = [*now, *(parameters[i] for i in self._apart)]
        if self._copies:
            with torch.no_grad():
                torch._foreach_copy_(self._copies, now)  # pyright: ignore[reportPrivateImportUsage]

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
    waiting: dict[torch.device | None, list[Replica]] = attrs.field(factory=dict)
    refused: str = ""
    learnt: Learnt = attrs.field(factory=Learnt)  # see Forward
    chance: Chance = attrs.field(factory=Chance)


_pools: WeakKeyDictionary[nn.Module, _Pool] = WeakKeyDictionary()
_lock = threading.Lock()


def sharded(root: nn.Module) -> bool:
    """Whether other processes hold parts of a model (FSDP, tensor parallelism), so that all of them must call it together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for p in root.parameters()) or any(
        isinstance(m, FullyShardedDataParallel) for m in root.modules()
    )


def _alias(parameter: nn.Parameter, device: torch.device | None = None, *, copied: bool = False) -> Tensor:
    """The same storage, or a copy on another device, as a tensor that records no gradient, of the same class.

    It counts its own versions: a step of an optimizer in another thread must not break a backward pass here, nor the reverse.
    """
    if torch.nn.parameter.is_lazy(parameter):
        raise UsageError("model has parameters without values (a lazy module); run it once on an example before explaining it")
    bare = parameter.data.to(device or parameter.device, copy=True) if copied else parameter.data
    if type(parameter) is nn.Parameter:
        return nn.Parameter(bare, requires_grad=False)
    alias = torch.Tensor._make_subclass(type(parameter), bare, require_grad=False)
    vars(alias).update(vars(parameter))
    return alias


def written(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The parameters into which forward passes write: tables of embeddings whose rows have a largest norm."""
    tables = (m for m in modules if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.max_norm is not None)
    return [table.weight for table in tables]


def _copied(census: Census, device: torch.device | None) -> Replica:
    root = census.root
    if census.leads_back():
        raise CopyRefusedError("a hook or a function attribute refers to the model's own modules")
    own = set(map(id, census.parameters.values() if device is not None else written(census.modules.values())))
    memo: dict[int, Any] = {key: _alias(p, device, copied=key in own) for key, p in census.parameters.items()}
    memo |= {key: t.detach().to(device or t.device, copy=True) for key, t in (census.buffers | census.tensors).items()}
    try:
        twin = copy.deepcopy(root, memo)
    except Exception as error:  # a model may hold anything: locks, files, sharded tensors
        raise CopyRefusedError(f"copying it raised {type(error).__name__}: {error}") from error
    shared = {id(m) for m in twin.modules()} & census.modules.keys()
    pairs = zip(twin.parameters(), root.parameters(), strict=True)
    if shared or any((t.data_ptr() == p.data_ptr()) is (id(p) in own) for t, p in pairs if p.numel()):
        raise CopyRefusedError("its copy is not independent, or does not share its parameters")
    found = Census(twin)
    copies = [*found.buffers.values(), *found.tensors.values()]
    if [t.shape for t in copies] != [t.shape for t in (*census.buffers.values(), *census.tensors.values())]:
        raise CopyRefusedError("its copy holds other tensors")
    apart = [i for i, p in enumerate(root.parameters()) if id(p) in own]
    parameters = list(twin.parameters())
    return Replica(twin, device, [*copies, *(parameters[i] for i in apart)], apart, Glance.of(found))


def _elsewhere(root: nn.Module, device: torch.device | None) -> torch.device | None:
    """The device, if a model is not there already.

    Raises:
        UsageError: the model lies on several devices, from which it cannot be moved as a whole.
    """
    if device is None:
        return None
    found = sorted({str(t.device) for t in (*root.parameters(), *root.buffers())})
    if len(found) > 1:
        raise UsageError(
            f"device={str(device)!r}: the model lies on several devices ({', '.join(found)}), and stays there; leave device out"
        )
    return device if found and torch.device(found[0]) != device else None


def _pool(root: nn.Module) -> tuple[_Pool, Census | None]:
    """The pool of a model as it is now, and the census where one had to be taken."""
    with _lock:
        pool = _pools.get(root)
        if pool is not None and pool.glance.holds():
            return pool, None
        if any(isinstance(m, torch.jit.ScriptModule) for m in root.modules()):
            raise CopyRefusedError("it holds TorchScript")
        if sharded(root):
            raise CopyRefusedError("other processes hold parts of it")
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
    def take(cls, original: nn.Module, device: torch.device | None = None) -> Lease:
        """A replica of the model as it is now, where the model is or on another device.

        Raises:
            CopyRefusedError: the model cannot be copied.
            UsageError: it cannot be moved to that device.
        """
        pool, census = _pool(original)
        if pool.refused:
            raise CopyRefusedError(pool.refused)
        device = _elsewhere(original, device)
        with _lock:
            waiting = pool.waiting.get(device)
            replica = waiting.pop() if waiting else None
        if replica is None:
            try:
                replica = _copied(census or Census(original), device)
            except CopyRefusedError as refusal:
                pool.refused = str(refusal)
                raise
        replica.refresh(original, pool.glance.values())
        return cls(original, replica, pool)

    def refuse(self, reason: str) -> None:
        """Never copy this model again: a forward pass of the copy ran the original's modules."""
        self.pool.refused = reason
        self.pool.waiting.clear()

    def give_back(self) -> None:
        """Keep the replica for the next call, unless a forward pass left something on it."""
        if self.replica.pristine():
            with _lock:
                waiting = self.pool.waiting.setdefault(self.replica.device, [])
                if len(waiting) < _KEPT and not self.pool.refused:
                    waiting.append(self.replica)
