"""What is to be known of a model before anything is tried: whether it runs, what it returns, where gradients reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.arguments import Arguments
from attrkit.doctoring.trial import Outcome, tried
from attrkit.layers import LayerLike, ModuleLayer, find_layers
from attrkit.problem import Problem
from attrkit.protocols import Tensors
from attrkit.runner import Forward, Passes, Runner, isolated, root_of
from attrkit.targets import Target, output_tensor

EXAMPLES = 2  # enough to see whether one changes what comes out for the other


@attrs.frozen
class Examined:
    """What was found, and what trials go on with."""

    model: Any
    arguments: Arguments
    output: str = ""
    target: Target | None = None
    layers: Mapping[str, LayerLike] = attrs.field(factory=dict)  # where to attribute to, besides the inputs
    reached: tuple[str, ...] = ()  # those that a gradient comes back to
    at_inputs: bool = True  # whether one comes back to the inputs
    healthy: bool = True
    notes: tuple[str, ...] = ()


def examined(model: Any, arguments: Arguments, target: Any, layer: LayerLike | None) -> Examined:
    """Run the model a few times on a few of the examples.

    Raises:
        UsageError: the layer is none of the model's, or the target fits no batch of that many examples.
    """
    given = {str(found): layer for found in find_layers(root_of(model), () if layer is None else (layer,)) if layer}
    rows = torch.arange(min(EXAMPLES, len(arguments)))
    few, aim = arguments.taken(rows), Target.of(target, len(arguments)).taken(rows)
    ran = tried(partial(_outputs, model, [few]))
    if ran.result is None:
        return Examined(model, few, healthy=False, notes=(*ran.problems, *ran.notes))
    (output,) = ran.result
    notes = [*ran.notes, *_of_output(output)]
    if aim == Target() and (largest := _largest(output)) is not None:
        aim = Target.of(largest, len(few))
        notes.append(f"explained here: the largest output of each example, target={aim}; pass target= for another")
    layers = given or tried(partial(_running, model, few)).result or {}
    reached = tuple(label for label, each in layers.items() if _reaches(tried(partial(_gradient, model, few, aim, (each,)))))
    gradient = tried(partial(_gradient, model, few, aim, ()))
    notes += [*_of_batches(model, few, output), *_of_gradient(gradient)]
    return Examined(model, few, described(output), aim, layers, reached, gradient.works, notes=tuple(dict.fromkeys(notes)))


def _outputs(model: Any, calls: list[Arguments]) -> list[Tensor]:
    """The output for each of several calls."""

    def compute(forward: Forward) -> list[Tensor]:
        found = []
        for arguments in calls:
            args, kwargs = arguments.call(tuple(t.clone() for t in arguments.tensors), 1, slice(0, len(arguments)))
            found.append(output_tensor(forward(*args, **kwargs)).detach().clone())
        return found

    with torch.no_grad():
        return isolated(model, compute)


def described(tensor: Tensor) -> str:
    """The shape and the dtype of a tensor."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _largest(output: Tensor) -> Any:
    """The largest number of each example's output, where there are several."""
    if output.dim() == 0 or output[0].numel() == 1:
        return None
    places = torch.stack(torch.unravel_index(output.flatten(1).argmax(1), output.shape[1:]), 1)
    return [tuple(place) for place in places.tolist()]


def _gradient(model: Any, arguments: Arguments, target: Target, layers: tuple[LayerLike, ...]) -> Tensors:
    """The gradient at the inputs, or at layers."""
    site = find_layers(root_of(model), layers)

    def compute(forward: Forward) -> Tensors:
        return Problem(Runner(Passes(forward), len(arguments)), arguments, target, layers=site).value_and_grad()[1]

    return isolated(model, compute)


def _of_output(output: Tensor) -> Iterator[str]:
    if not output.is_floating_point():
        yield f"the output is of dtype {output.dtype}: nothing of it can be differentiated"
    elif not output.isfinite().all():
        yield "some of the output is not finite"


def _reaches(found: Outcome[Tensors]) -> bool:
    return found.result is not None and any(bool(g.any()) for g in found.result)


def _of_gradient(found: Outcome[Tensors]) -> Iterator[str]:
    """What gradients at the inputs are like."""
    yield from (*found.problems, *found.notes)
    if found.result is not None and not all(bool(g.isfinite().all()) for g in found.result):
        yield "the gradient at the inputs is not finite everywhere"
    elif found.result is not None and not _reaches(found):
        yield "the gradient at the inputs is 0 everywhere"


def _of_batches(model: Any, arguments: Arguments, output: Tensor) -> Iterator[str]:
    """Whether examples are independent of each other, and of chance."""
    n = len(arguments)
    if output.shape[:1] != (n,):
        yield f"the model returns {tuple(output.shape)} for {n} examples, not one row for each: they are explained together"
        return
    other = arguments.taken(torch.arange(1) if n > 1 else torch.zeros(2, dtype=torch.long))
    again = tried(partial(_outputs, model, [arguments, other, arguments]))
    if again.result is None:
        yield f"the model does not take {len(other)} examples: {again.problems[0]}"
        return
    first, alone, last = again.result
    if not _alike(first, last):
        yield "the output differs from call to call: the model draws random numbers; call model.eval()"
    elif not _alike(alone[:1], first[:1]):
        yield "the output for an example depends on the others in the batch; call model.eval(), or explain one at a time"


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-4, equal_nan=True)


def _running(model: Any, arguments: Arguments) -> dict[str, LayerLike]:
    """A few layers to attribute to: the first and the last, and the last of those that are largest in dimensions."""
    root = root_of(model)
    if root is None:
        return {}
    every = [ModuleLayer(name, m) for name, m in root.named_modules() if name and not any(True for _ in m.children())]

    def compute(forward: Forward) -> dict[str, LayerLike]:
        passes = Passes(forward)
        running = passes.running(arguments, every)
        problem = Problem(Runner(passes, len(arguments)), arguments, Target(), layers=tuple(running))
        (values,) = problem.sites([arguments.tensors])
        rest = iter(values)
        dims = [max(t.dim() for t in [next(rest) for _ in range(passes.sizes[layer])]) for layer in running]
        largest = max(i for i, d in enumerate(dims) if d == max(dims))
        return {running[i].name: running[i].name for i in (0, largest, -1)}

    return isolated(model, compute) if every else {}
