"""Training mode: whether it changes what a model computes."""

from __future__ import annotations

from torch import nn

from attrkit.errors import warn


def sensitive(module: nn.Module) -> bool:
    """Whether training mode changes what the module computes."""
    modules = nn.modules
    if isinstance(module, modules.dropout._DropoutNd):
        return module.p > 0
    return isinstance(module, modules.batchnorm._NormBase) or bool(isinstance(module, nn.RNNBase) and module.dropout)


def in_training(root: nn.Module | None) -> str:
    """The class of a module whose output is another one because it is in training mode; empty where there is none."""
    found = root is not None and next((m for m in root.modules() if m.training and sensitive(m)), None)
    return type(found).__name__ if found else ""


def warn_of_training(kind: str) -> None:
    """Warn of a module of this class in training mode."""
    warn(
        f"the model is in training mode: {kind} makes its output depend on chance or on the other examples; "
        "call model.eval() first unless you mean it"
    )
