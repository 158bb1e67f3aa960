"""Calling a model so that nothing of it differs afterwards: on a replica, or with guards where it cannot be copied."""

from __future__ import annotations

import copy
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from attrkit.errors import UsageTypeError, warn
from attrkit.layers import ModuleLayer
from attrkit.runner.chance import Chance
from attrkit.runner.learnt import Learnt
from attrkit.runner.replica import CopyRefusedError, Lease, sharded, written
from attrkit.runner.spares import Spares
from attrkit.runner.training import in_training, sensitive, warn_of_training

T = TypeVar("T")
_learnt: WeakKeyDictionary[Any, Learnt] = WeakKeyDictionary()
_depth = threading.local()  # the innermost guarded call of each thread


class _LedBackError(Exception):
    """A forward pass of the replica ran modules of the original."""

    def __str__(self) -> str:
        return "a forward pass of its copy ran the model's own modules"


def unwrapped(model: Any) -> Any:
    """The model inside torch.compile, DataParallel and DistributedDataParallel."""
    while isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule):
        within = vars(model).get("_modules", {})
        if "module" in within and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(within.get("_orig_mod"), nn.Module):
            model = model._orig_mod
        else:
            break
    return model


def root_of(model: Any) -> nn.Module | None:
    """The module whose forward pass ``model`` is: itself, the owner of a bound method, or what a partial calls."""
    model = unwrapped(model)
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise UsageTypeError(f"model must be a torch module, got the class {model.__name__}; make an object of it")
    if isinstance(model, types.MethodType) and isinstance(model.__self__, nn.Module):
        return root_of(model.__self__)
    if isinstance(model, partial):
        return root_of(model.func)
    if not callable(model):
        raise UsageTypeError(f"model must be a torch module or a function that returns its output, got {type(model).__name__}")
    return None


def replicated(model: Any) -> tuple[torch.device, ...]:
    """The devices that a DataParallel, or what calls one, would spread over; none where that is one, or none."""
    while isinstance(model, partial | types.MethodType):
        model = model.func if isinstance(model, partial) else model.__self__
    ids = model.device_ids if isinstance(model, nn.DataParallel) else ()
    return tuple(torch.device("cuda", i) for i in ids) if len(ids) > 1 else ()


def _rebound(model: Any, root: nn.Module, twin: nn.Module) -> Callable[..., Any]:
    """``model`` with ``twin`` in place of ``root``."""
    if model is root:
        return twin
    model = unwrapped(model)
    if isinstance(model, partial):
        return partial(_rebound(model.func, root, twin), *model.args, **model.keywords)
    if isinstance(model, types.MethodType):
        return twin if isinstance(model.__self__, nn.DataParallel) else types.MethodType(model.__func__, twin)
    return twin


@attrs.define(eq=False)
class Forward:
    """A model that may be called and tapped, by one thread at a time. ``root`` is None where only a function is known."""

    call: Callable[..., Any]
    root: nn.Module | None
    guard: Callable[[Callable[..., Any]], Callable[..., Any]] = attrs.field(default=lambda hook: hook)
    training: bool = False
    learnt: Learnt = attrs.field(factory=Learnt)  # from earlier passes, kept with the model
    device: torch.device | None = None  # where it computes; None for wherever its inputs are
    entered: Callable[[], AbstractContextManager[None]] = nullcontext  # around its use in another thread
    compiled: Callable[[], Callable[..., Any]] | None = None  # makes its call one by torch's compiler
    spares: Spares[Forward] = attrs.field(factory=lambda: Spares([]), repr=False)  # itself among them

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output."""
        return self.call(*args, **kwargs)

    def module(self, layer: ModuleLayer) -> nn.Module:
        """The module to tap for a layer that was found in the user's model."""
        return layer.module if self.root is None else self.root.get_submodule(layer.name)


def isolated(model: Any, compute: Callable[[Forward], T], devices: Sequence[torch.device] = ()) -> T:
    """``compute`` on a forward whose use leaves no trace on the model, its buffers and the global random generators.

    ``compute`` may run twice: again from the start when a forward pass of the copy turns out to run the original's modules.
    The forward's ``spares`` hold one for each of ``devices``, itself among them, and make others where more are needed.

    Raises:
        UsageError: the model cannot be moved to one of the devices, or run on several at once.
    """
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(mode=False):
            return isolated(model, compute, devices)
    root = root_of(model)
    lease, refusal = None, "it is a function, of which no copy can be made"
    try:
        lease = Lease.take(root, devices[0] if devices else None) if root is not None else None
    except CopyRefusedError as refused:
        refusal = str(refused)
    kind = in_training(root) if lease is None else lease.pool.in_training
    if training := bool(kind):
        warn_of_training(kind)
    if lease is not None and root is not None:
        replicas = _Replicas(model, root, training, [lease])
        try:
            result = lease.pool.chance.kept(lambda: compute(replicas.forward(devices)))
        except (_LedBackError, CopyRefusedError) as refused:
            refusal = str(refused)
            lease.refuse(refusal)
        else:
            replicas.give_back()
            return result
        finally:
            replicas.spares.let_go()
    if devices:
        warn(f"device: the model runs where it is, one pass at a time, because it cannot be copied: {refusal}")
    chance = Chance()
    with _guarded(root) as guard:
        learnt = _learnt_of(model)
        learnt.lockstep = root is not None and sharded(root)
        forward = Forward(chance.watching(unwrapped(model)), root, guard, training, learnt, entered=guard.entered)
        forward.spares.free.append(forward)
        try:
            return chance.kept(lambda: compute(forward))
        finally:
            forward.spares.let_go()


@attrs.define
class _Replicas:
    """The replicas that one call uses, one for each device and further ones for threads of an executor's own."""

    model: Any
    root: nn.Module
    training: bool
    leases: list[Lease]
    spares: Spares[Forward] = attrs.field(factory=lambda: Spares([]), init=False)

    def forward(self, devices: Sequence[torch.device]) -> Forward:
        """The first, with the others as its spares."""
        for device in devices[1:]:
            self.leases.append(Lease.take(self.root, device))
        for lease, where in zip(self.leases, devices or (None,), strict=True):
            self.spares.free.insert(0, self._forward(lease, where))
        self.spares.more = partial(self._another, devices[0] if devices else None)
        first = self.spares.free[-1]
        if (chance := self.leases[0].pool.chance).drawn is None:
            first.call = chance.watching(_watched(first.call, self.root))
        return first

    def _another(self, device: torch.device | None) -> Forward:
        lease = Lease.take(self.root, device)
        self.leases.append(lease)
        return self._forward(lease, device)

    def _forward(self, lease: Lease, device: torch.device | None) -> Forward:
        twin, learnt = lease.replica.root, lease.pool.learnt
        call = _rebound(self.model, self.root, twin)
        compiled = partial(lease.replica.compiled, call)
        return Forward(call, twin, training=self.training, learnt=learnt, device=device, compiled=compiled, spares=self.spares)

    def give_back(self) -> None:
        """Keep them for the next call."""
        for lease in self.leases:
            lease.give_back()


def _learnt_of(model: Any) -> Learnt:
    """What was learnt in earlier calls of a model that is not copied."""
    try:
        return _learnt.setdefault(model, Learnt())
    except TypeError:  # it takes no weak references, or has no hash
        return Learnt()


def _watched(call: Callable[..., Any], root: nn.Module) -> Callable[..., Any]:
    """``call``, raising at its first use when modules of the original run."""
    originals = {id(m) for m in root.modules()}
    watching = [True]

    def watched(*args: Any, **kwargs: Any) -> Any:
        if not watching:
            return call(*args, **kwargs)
        watching.clear()
        thread, ran = threading.get_ident(), []

        def note(module: nn.Module, _: Any) -> None:
            if threading.get_ident() == thread and id(module) in originals:
                ran.append(module)

        handle = register_module_forward_pre_hook(note)
        try:
            output = call(*args, **kwargs)
        finally:
            handle.remove()
        if ran:
            raise _LedBackError
        return output

    return watched


@attrs.frozen(eq=False)
class _Guard:
    """Makes a hook fire only for one guarded call, in the threads that entered it."""

    threads: set[int] = attrs.field(factory=set)

    def __call__(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """The hook, guarded."""
        return lambda *args, **kwargs: hook(*args, **kwargs) if getattr(_depth, "innermost", None) is self else None

    def entered_here(self) -> bool:
        """Whether this thread works for the call, perhaps in one within it."""
        return threading.get_ident() in self.threads

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this thread one of them, and this call its innermost."""
        outer, known = getattr(_depth, "innermost", None), self.entered_here()
        _depth.innermost = self
        self.threads.add(threading.get_ident())
        try:
            yield
        finally:
            _depth.innermost = outer
            if not known:
                self.threads.discard(threading.get_ident())


@contextmanager
def _guarded(root: nn.Module | None) -> Iterator[_Guard]:
    """Run the user's own modules; put back what forward passes change on them; yield what makes a hook fire only for us."""
    guard = _Guard()
    with ExitStack() as stack:
        saved: set[int] = set()

        def save(module: nn.Module, _: Any = None) -> None:
            if guard.entered_here() and id(module) not in saved:
                saved.add(id(module))
                if root is None and module.training and sensitive(module):
                    warn_of_training(type(module).__name__)
                for tensor in (values := _values(module)):
                    stack.enter_context(torch.autograd.grad_mode._unsafe_preserve_version_counter(tensor))
                stack.callback(_restore, module, _attributes(module), values)

        stack.enter_context(guard.entered())
        if root is not None:
            save(root)
        handle = register_module_forward_pre_hook(save)
        stack.callback(handle.remove)
        yield guard


def _values(module: nn.Module) -> dict[Tensor, Tensor]:
    """What a forward pass may write into, and copies of that."""
    return {t: t.detach().clone() for t in (*module.buffers(recurse=False), *written([module]))}


def _restore(module: nn.Module, attributes: dict[str, tuple[Any, Any]], values: dict[Tensor, Tensor]) -> None:
    fields = vars(module)
    for name in fields.keys() - attributes.keys():
        del fields[name]
    for name, (value, copied) in attributes.items():
        if fields.get(name) is not value:
            fields[name] = value
        if isinstance(value, list) and copied is not None and value != copied:
            value[:] = copied
        elif isinstance(value, dict | set) and copied is not None and value != copied:
            value.clear()
            value.update(copied)
    with torch.no_grad():
        for tensor, value in values.items():
            if not torch.equal(tensor, value):
                tensor.copy_(value)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and a copy of what is in it where that is a list, a set or a dictionary of the user's own."""
    own = {k: v for k, v in vars(module).items() if not k.startswith("_")}
    copied = {k: copy.copy(v) if isinstance(v, list | set | dict) else None for k, v in own.items()}
    return {k: (v, copied.get(k)) for k, v in vars(module).items()}
