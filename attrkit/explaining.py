"""The native door: ``attrkit.explain``."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from attrkit.arguments import Arguments
from attrkit.attributing import Answer, Request, answers
from attrkit.devices import DeviceLike, devices_of
from attrkit.errors import UsageError, UsageTypeError, heard
from attrkit.explanation import Explanation, plain
from attrkit.layers import LayerLike, Selector
from attrkit.reading import arguments_of
from attrkit.registry import registry
from attrkit.runner import Forward, isolated, root_of
from attrkit.specs import MethodSpec
from attrkit.targets import TargetLike, output_tensor
from attrkit.wrapping import Wrapped

_SAMPLED = 256  # entries of a tensor that its fingerprint reads at most


def explain(
    model: Any,
    inputs: Tensor | tuple[Tensor, ...] | Mapping[str, Any],
    method: str | MethodSpec = "integrated_gradients",
    *,
    target: TargetLike | str = None,
    baselines: Any = None,
    layer: LayerLike | Sequence[LayerLike] | None = None,
    layers: str | Sequence[str] | None = None,
    neuron: Selector | None = None,
    attribute_to_layer_input: bool = False,
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
    device: DeviceLike | Sequence[DeviceLike] | None = None,
    compiled: bool = False,
    seed: int = 0,
    first_example: int = 0,
    show_progress: bool = False,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Explanation:
    """Explain a model's output for a batch of inputs.

    Args:
        model: a torch module, or a function of the inputs that returns a tensor.
        inputs: a tensor, a tuple of tensors, or a mapping of keyword arguments; the first dimension is the batch.
        method: a method's name (``attrkit methods`` lists them), or its declaration.
        target: which output: an int, a tuple of indices, one of these per example in a list, an integer tensor, or
            ``"predicted"`` for each example's largest output; None where the model returns one number per example.
        baselines: what to compare with: a number, a tensor like the input, or like one example of it (shape ``(1, ...)``), or a
            tuple of these; for methods with ``baseline_at="site"`` and a layer, a value of that layer.
        layer: attribute to this layer (a module, its dotted path, or ``Call(module, 2)`` or ``"path@2"`` for one call of a
            module that runs several times), or to each of several, instead of the inputs.
        layers: attribute to every layer whose path matches this glob, or one of these, that runs and passes on real numbers;
            ``*`` stops at a dot, ``**`` does not.
        neuron: explain this neuron of ``layer`` instead of the output: an index, a tuple of indices or slices, or a function.
        attribute_to_layer_input: use what goes into ``layer`` instead of what comes out.
        additional_forward_args: further arguments of the model, after the inputs.
        internal_batch_size: the most rows that one forward pass may have.
        device: compute there, like ``"cuda:1"``, or on several at once, like ``["cuda:0", "cuda:1"]``, on a copy of
            the model each. Results come back to where the inputs are. Without it, on all devices of a DataParallel, else where
            the model is.
        compiled: run passes that look at nothing within the model by ``torch.compile``, which takes a while the first time and
            pays for many passes. They all have ``internal_batch_size`` rows, 64 without it, some of them filled up.
        seed: of every random draw.
        first_example: the number of the first example. Draws belong to an example's number: a part of a data set gets those
            that it has within the whole.
        show_progress: show a progress bar on stderr.
        options: the method's own options (``attrkit methods NAME`` lists them), by name.
        more: the same as keywords, for those whose names are not taken here.

    Raises:
        UsageError: an argument is wrong; also a ValueError, and an AssertionError.
        UnknownName: no plugin provides the method, or the method has no such option.
        PluginUnavailable: the plugin that provides it is broken or ambiguous.
    """
    return _explained(
        model,
        inputs,
        method,
        [(target, neuron)],
        baselines=baselines,
        layer=layer,
        layers=layers,
        attribute_to_layer_input=attribute_to_layer_input,
        additional_forward_args=additional_forward_args,
        internal_batch_size=internal_batch_size,
        device=device,
        compiled=compiled,
        seed=seed,
        first_example=first_example,
        show_progress=show_progress,
        options=options,
        **more,
    )[0]


def explain_each(
    model: Any,
    inputs: Tensor | tuple[Tensor, ...] | Mapping[str, Any],
    method: str | MethodSpec = "integrated_gradients",
    *,
    targets: Iterable[TargetLike] | None = None,
    neurons: Iterable[Selector] | None = None,
    **arguments: Any,
) -> list[Explanation]:
    """Explain several targets, or several neurons of one layer, from the same forward passes.

    The explanations are those that :func:`explain` would give one by one. ``passes`` of each are those of all of them, in
    batches that hold every example once for each target.

    Args:
        model, inputs, method: as of :func:`explain`.
        targets: one explanation for each of these; each is what ``target`` of :func:`explain` may be.
        neurons: one explanation for each of these neurons of ``layer``.
        arguments: everything else that :func:`explain` takes.

    Raises:
        UsageError: neither targets nor neurons are given, or both, or none of them; and as :func:`explain`.
    """
    if (targets is None) == (neurons is None):
        raise UsageError("explain_each needs either targets= or neurons=, a list with one entry for each explanation")
    for name, given in (("targets", targets), ("neurons", neurons)):
        if given is not None and (isinstance(given, str) or not isinstance(given, Iterable)):
            raise UsageTypeError(f"{name} must be a list with one entry for each explanation, got {given!r}")
    if "neuron" in arguments:
        raise UsageError("explain_each takes neurons=, a list with one entry for each explanation; for one use explain")
    if targets is not None and "target" in arguments:
        raise UsageError("explain_each takes either target= (of all neurons) or targets=, not both")
    objectives: list[tuple[Any, Selector | None]] = [] if targets is None else [(t, None) for t in targets]
    objectives += [] if neurons is None else [(arguments.get("target"), n) for n in neurons]
    if not objectives:
        raise UsageError(f"{'neurons' if targets is None else 'targets'} is empty; give at least one")
    return _explained(model, inputs, method, objectives, **{k: v for k, v in arguments.items() if k != "target"})


def _explained(
    model: Any,
    inputs: Any,
    method: str | MethodSpec,
    objectives: Sequence[tuple[Any, Selector | None]],
    *,
    baselines: Any = None,
    layer: Any = None,
    layers: str | Sequence[str] | None = None,
    attribute_to_layer_input: bool = False,
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
    device: Any = None,
    compiled: bool = False,
    seed: int = 0,
    first_example: int = 0,
    show_progress: bool = False,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> list[Explanation]:
    """One explanation for each objective, a target and a neuron."""
    if not isinstance(method, str | MethodSpec):
        raise UsageTypeError(f"method must be the name of a method or its declaration, got {type(method).__name__}")
    spec = method if isinstance(method, MethodSpec) else registry.method(method)
    if not isinstance(options or {}, Mapping):
        raise UsageTypeError(f"options must be a mapping of option names, got {type(options).__name__}")
    listed, patterns = _places(layer, layers)
    if attribute_to_layer_input and not (listed or patterns):
        raise UsageError("attribute_to_layer_input needs layer=, the layer whose input it is")
    if any(neuron is not None for _, neuron in objectives) and (len(listed) != 1 or patterns):
        raise UsageError(f"neuron needs layer=, the one layer that it is in; got {len(listed)} layers")
    arguments = arguments_of(model, inputs, additional_forward_args)
    devices = devices_of(device)
    chosen = {**(options or {}), **more}
    requests = [
        Request(
            model=model,
            arguments=arguments,
            target=_predicted(model, arguments, devices) if isinstance(target, str) and target == "predicted" else target,
            baselines=baselines,
            layers=listed,
            patterns=patterns,
            neuron=neuron,
            io="input" if attribute_to_layer_input else "output",
            rows=internal_batch_size,
            seed=seed,
            first=first_example,
            progress=spec.name if show_progress else "",
            together=False,
            devices=devices,
            compiled=compiled,
        )
        for target, neuron in objectives
    ]
    with heard() as warned:
        found = answers(spec, requests, chosen, outputs=True)
    shared = {
        "model": _identity(model),
        "versions": _versions(spec),
        "warnings": tuple(dict.fromkeys(warned)),
        "inputs": dict(zip(arguments.names, (t.detach().clone() for t in arguments.tensors), strict=True)),
    }
    return [_explanation(spec, request, chosen, each, shared) for request, each in zip(requests, found, strict=True)]


def _places(layer: Any, layers: Any) -> tuple[tuple[LayerLike, ...], tuple[str, ...]]:
    """The layers that are named, and the patterns of others' paths."""
    patterns = (layers,) if isinstance(layers, str) else () if layers is None else layers
    for pattern in patterns if isinstance(patterns, Sequence) else [patterns]:
        if not isinstance(pattern, str):
            got = type(pattern).__name__
            raise UsageTypeError(f"layers must be a pattern of paths, like 'encoder.*', or a list of them, got {got}")
    listed = () if layer is None else tuple(layer) if isinstance(layer, list | tuple) else (layer,)
    if (layer is not None and not listed) or (layers is not None and not layers):
        raise UsageError("layer: an empty list names no layer; give at least one, or leave it out")
    return listed, tuple(patterns)


def _explanation(
    spec: MethodSpec, request: Request, options: Mapping[str, Any], found: Answer, shared: Mapping[str, Any]
) -> Explanation:
    return Explanation(
        values=dict(zip(_names(found), found.values, strict=True)),
        method=spec.name,
        options={k: plain(v) for k, v in spec.resolve(options).items()},
        where=str(request.where),
        target=found.target.to_json(),
        output=found.output,
        baseline_output=found.baseline_output,
        delta=found.delta,
        passes={"forward": found.forward_passes, "backward": found.backward_passes},
        rows_per_pass=found.rows_per_pass,
        rules=tuple(
            {
                "path": r.path,
                "operation": r.operation,
                "rule": r.rule,
                "parameters": plain(r.parameters),
                "entry": r.entry,
                "origin": r.origin,
            }
            for r in found.rules
        ),
        errors=dict(zip(_names(found), found.errors, strict=False)),
        details={name: v if isinstance(v, Tensor) else plain(v) for name, v in found.details.items()},
        seed=request.seed,
        **shared,
    )


_version = cache(version)


def _versions(spec: MethodSpec) -> dict[str, str]:
    versions = {"attrkit": _version("attrkit"), "torch": str(torch.__version__), "python": platform.python_version()}
    parts = spec.parts if isinstance(spec, Wrapped) else (spec,)
    return versions | {plugin.dist: plugin.version for part in parts if (plugin := registry.origin(part)) is not None}


def _names(found: Answer) -> tuple[str, ...]:
    if not found.layers:
        return found.names
    labels = [(str(layer) or type(layer.module).__name__, count) for layer, count in found.layers]
    return tuple(name if count == 1 else f"{name}[{i}]" for name, count in labels for i in range(count))


def _predicted(model: Any, arguments: Arguments, devices: Sequence[torch.device]) -> list[int]:
    """The index of each example's largest output."""

    def called(forward: Forward) -> Any:
        there = arguments if forward.device is None else arguments.on(forward.device)
        args, kwargs = there.call(tuple(t.clone() for t in there.tensors), 1, slice(0, len(there)))
        return forward(*args, **kwargs)

    with torch.no_grad():
        output = output_tensor(isolated(model, called, devices[:1]))
    if output.dim() != 2:
        raise UsageError(f"target='predicted' needs an output of shape (batch, classes), the model's is {tuple(output.shape)}")
    return [int(i) for i in output.argmax(1)]


def _identity(model: Any) -> dict[str, str]:
    root = root_of(model)
    if root is None:
        return {"class": getattr(model, "__qualname__", type(model).__name__), "fingerprint": ""}
    return {"class": f"{type(root).__module__}.{type(root).__qualname__}", "fingerprint": fingerprint(root)}


def fingerprint(model: nn.Module) -> str:
    """A hash of the model's structure and of its weights, of which large ones are sampled evenly."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    kinds = [f"{name} {type(module).__qualname__} {module.extra_repr()}" for name, module in model.named_modules()]
    digest = hashlib.sha256("\n".join(kinds).encode())
    samples: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for name, tensor in tensors:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        here = tensor.to_local() if hasattr(tensor, "to_local") else tensor  # of a sharded one, what this process holds
        flat, step = here.detach().reshape(-1), -(-here.numel() // _SAMPLED)
        samples.setdefault((tensor.dtype, tensor.device), []).append(flat[::step] if step > 1 else flat)
    for parts in samples.values():
        digest.update(torch.cat(parts).view(torch.uint8).cpu().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
