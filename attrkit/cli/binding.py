"""A ruleset on a model: how it fits, found with one example or zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrkit.cli.data import Data, load_data, part, suited
from attrkit.cli.guessing import guessed_input
from attrkit.cli.loading import load_model
from attrkit.cli.output import note
from attrkit.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from attrkit.runner import Fit


def bind(source: str, parameters: Mapping[str, Any], model: str, data: str | None, shape: tuple[int, ...] | None) -> Fit:
    """What the ruleset ``source`` does with a model.

    Raises:
        UsageError: the model or its input cannot be had.
        RulesetError: the ruleset itself is not valid, or its parameters are not.
    """
    from attrkit.attributing import Request, fit
    from attrkit.reading import arguments_of

    network = load_model(model)
    inputs = suited(_input(network, data, shape), network).inputs
    return fit(Request(model=network, arguments=arguments_of(network, inputs)), source, parameters)


def _input(model: nn.Module, data: str | None, shape: tuple[int, ...] | None) -> Data:
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
