"""The classes people know, like ``attrkit.attr.IntegratedGradients``; those of plugins' methods are here too."""

from typing import Any

from attrkit.bases import Attribution as Attribution
from attrkit.bases import GradientAttribution as GradientAttribution
from attrkit.bases import InternalAttribution as InternalAttribution
from attrkit.bases import LayerAttribution as LayerAttribution
from attrkit.bases import NeuronAttribution as NeuronAttribution
from attrkit.bases import PerturbationAttribution as PerturbationAttribution


def __getattr__(name: str) -> Any:
    """A class by its name, made when it is first used."""
    if not name[:1].isupper():
        raise AttributeError(f"module 'attrkit.attr' has no attribute {name!r}")
    from attrkit.facade import find_class

    return find_class(name)


def __dir__() -> list[str]:
    from attrkit.facade import class_names

    return sorted([*globals(), *class_names()])
