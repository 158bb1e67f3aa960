"""A ruleset on a model: how it fits, found with one example or zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrkit.cli.data import Data, load_data, part, suited
from attrkit.cli.guessing import guessed_input
from attrkit.cli.output import note
from attrkit.errors import UsageError
from attrkit.loading.models import load_model

if TYPE_CHECKING:
    from torch import nn

    from attrkit.doctoring.rulesets import Bound
    from attrkit.rulesets.ruleset import Ruleset


def bind(ruleset: Ruleset, model: str, data: str | None, shape: tuple[int, ...] | None, layer: str | None) -> Bound:
    """What a ruleset, with values for its parameters, does with a model, and what its rules say when they run.

    Raises:
        UsageError: the model or its input cannot be had, or the model does not take it.
    """
    from attrkit.doctoring.examination import examined
    from attrkit.doctoring.rulesets import bound
    from attrkit.reading import arguments_of

    network = load_model(model)
    inputs = suited(example(network, data, shape), network).inputs
    found = examined(network, arguments_of(network, inputs), None, layer)
    if not found.healthy:
        raise UsageError(found.notes[0])
    result = bound(ruleset, found, {}, at_layer=layer is not None)
    if result.layer and layer is None:
        note(f"relevance goes back to layer {result.layer!r}, as it cannot to the inputs; give --layer for another")
    return result


def example(model: nn.Module, data: str | None, shape: tuple[int, ...] | None) -> Data:
    """One example of the data, else zeros of a shape, else of one that the model's first layer suggests.

    Raises:
        UsageError: there is no such data, both are given, or none can be guessed.
    """
    import torch

    if data and shape:
        raise UsageError("--data and --shape both say what the input is; give one of them")
    if data:
        return part(load_data(data), "0")
    if shape:
        return Data(torch.zeros(shape))
    zeros, path = guessed_input(model)
    note(f"input: zeros of shape {tuple(zeros.shape)}, guessed from layer {path!r}; give --data or --shape for another")
    return Data(zeros)
