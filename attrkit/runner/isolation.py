"""Calling a model so that nothing of it differs afterwards: on a replica, or with guards where it cannot be copied."""

from __future__ import annotations

import copy
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from attrkit.errors import UsageTypeError
from attrkit.layers import ModuleLayer
from attrkit.runner.learnt import Learnt
from attrkit.runner.replica import CopyRefusedError, Lease
from attrkit.runner.training import in_training, sensitive, warn_of_training

T = TypeVar("T")
_learnt: WeakKeyDictionary[Any, Learnt] = WeakKeyDictionary()
_depth = threading.local()  # the innermost guarded call of each thread


class _LedBackError(Exception):
    """A forward pass of the replica ran modules of the original."""


def unwrapped(model: Any) -> Any:
    """The model inside torch.compile, DataParallel and DistributedDataParallel."""
    while not isinstance(model, torch.jit.ScriptModule):
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model, nn.Module) and isinstance(vars(model).get("_modules", {}).get("_orig_mod"), nn.Module):
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


def _rebound(model: Any, root: nn.Module, twin: nn.Module) -> Callable[..., Any]:
    """``model`` with ``twin`` in place of ``root``."""
    model = unwrapped(model)
    if isinstance(model, partial):
        return partial(_rebound(model.func, root, twin), *model.args, **model.keywords)
    if isinstance(model, types.MethodType):
        return twin if isinstance(model.__self__, nn.DataParallel) else types.MethodType(model.__func__, twin)
    return twin


@attrs.define
class Forward:
    """A model that may be called and tapped. ``root`` is None where only a function is known."""

    call: Callable[..., Any]
    root: nn.Module | None
    guard: Callable[[Callable[..., Any]], Callable[..., Any]] = attrs.field(default=lambda hook: hook)
    training: bool = False
    learnt: Learnt = attrs.field(factory=Learnt)  # from earlier passes, kept with the model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output."""
        return self.call(*args, **kwargs)

    def module(self, layer: ModuleLayer) -> nn.Module:
        """The module to tap for a layer that was found in the user's model."""
        return layer.module if self.root is None else self.root.get_submodule(layer.name)


def isolated(model: Any, compute: Callable[[Forward], T]) -> T:
    """``compute`` on a forward whose use leaves no trace on the model, its buffers and the global random generators.

    ``compute`` may run twice: again from the start when a forward pass of the copy turns out to run the original's modules.
    """
    root = root_of(model)
    with torch.inference_mode(mode=False):
        try:
            lease = Lease.take(root) if root is not None else None
        except CopyRefusedError:
            lease = None
        kind = in_training(root) if lease is None else lease.pool.in_training
        if training := bool(kind):
            warn_of_training(kind)
        if lease is not None and root is not None:
            try:
                with _random_state_kept(lease, training=training):
                    call = _rebound(model, root, lease.replica.root)
                    if lease.pool.draws is None:
                        call = _watched(call, root)
                    result = compute(Forward(call, lease.replica.root, training=training, learnt=lease.pool.learnt))
            except _LedBackError:
                lease.refuse("a forward pass of its copy ran the model's own modules")
            else:
                lease.give_back()
                return result
        with _guarded(root) as guard, _random_state_kept(None, training=training):
            return compute(Forward(unwrapped(model), root, guard, training=training, learnt=_learnt_of(model)))


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


@contextmanager
def _random_state_kept(lease: Lease | None, *, training: bool) -> Iterator[None]:
    """Put the global generators of torch back where a forward pass draws from them.

    For a model that was seen not to draw, that is done only while no other thread runs, whose stream it might be.
    """
    others = lease is not None and lease.pool.draws is False and not training and threading.active_count() > 1
    if others:
        yield
        return
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    before = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda)]
    try:
        yield
    finally:
        after = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda)]
        drew = any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
        if lease is not None:
            lease.pool.draws = drew or bool(lease.pool.draws)
        if drew:
            torch.set_rng_state(before[0])
            for d, state in zip(cuda, before[1:], strict=True):
                torch.cuda.set_rng_state(state, d)


@contextmanager
def _guarded(root: nn.Module | None) -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Run the user's own modules; put back what forward passes change on them; yield what makes a hook fire only for us."""
    token, thread = object(), threading.get_ident()
    outer = getattr(_depth, "innermost", None)

    def ours() -> bool:
        return getattr(_depth, "innermost", None) is token

    def guard(hook: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: hook(*args, **kwargs) if ours() else None

    with ExitStack() as stack:
        saved: set[int] = set()

        def save(module: nn.Module, _: Any = None) -> None:
            if threading.get_ident() == thread and id(module) not in saved:
                saved.add(id(module))
                if root is None and module.training and sensitive(module):
                    warn_of_training(type(module).__name__)
                for buffer in module.buffers(recurse=False):
                    stack.enter_context(torch.autograd.grad_mode._unsafe_preserve_version_counter(buffer))
                stack.callback(_restore, module, _attributes(module), _values(module))

        stack.callback(setattr, _depth, "innermost", outer)
        _depth.innermost = token
        if root is not None:
            save(root)
        handle = register_module_forward_pre_hook(save)
        stack.callback(handle.remove)
        yield guard


def _values(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(b, b.detach().clone()) for b in module.buffers(recurse=False)]


def _restore(module: nn.Module, attributes: dict[str, tuple[Any, Any]], values: list[tuple[Tensor, Tensor]]) -> None:
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
        for buffer, value in values:
            if not torch.equal(buffer, value):
                buffer.copy_(value)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and a copy of what is in it where that is a list, a set or a dictionary of the user's own."""
    own = {k: v for k, v in vars(module).items() if not k.startswith("_")}
    copied = {k: copy.copy(v) if isinstance(v, list | set | dict) else None for k, v in own.items()}
    return {k: (v, copied.get(k)) for k, v in vars(module).items()}
