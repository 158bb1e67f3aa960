"""The classes people know, like ``attrkit.attr.IntegratedGradients``; those of plugins' methods are here too."""

from typing import Any

from attrkit.bases import Attribution as Attribution
from attrkit.bases import GradientAttribution as GradientAttribution
from attrkit.bases import InternalAttribution as InternalAttribution
from attrkit.bases import LayerAttribution as LayerAttribution
from attrkit.bases import NeuronAttribution as NeuronAttribution
from attrkit.bases import PerturbationAttribution as PerturbationAttribution

_BASES = [name for name in globals() if name.endswith("Attribution")]


def __getattr__(name: str) -> Any:
    """A class by its name, made when it is first used; ``__all__`` are the names of all."""
    if name == "__all__":
        from attrkit.facade import class_names

        return sorted({*_BASES, *class_names()})
    if not name[:1].isupper():
        raise AttributeError(f"module 'attrkit.attr' has no attribute {name!r}")
    from attrkit.facade import find_class

    return find_class(name)


def __dir__() -> list[str]:
    from attrkit.facade import class_names

    return sorted([*globals(), *class_names()])
