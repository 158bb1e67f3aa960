"""Explain PyTorch models; every method is a plugin. Importing this package imports neither torch nor a plugin."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrkit import attr as attr
    from attrkit.doctoring import doctor as doctor
    from attrkit.explaining import explain as explain
    from attrkit.explaining import explain_each as explain_each
    from attrkit.explanation import Explanation as Explanation
    from attrkit.hookspecs import hookimpl as hookimpl
    from attrkit.layers import Call as Call
    from attrkit.problem import Problem as Problem
    from attrkit.specs import MethodSpec as MethodSpec
    from attrkit.specs import RulesetSource as RulesetSource
    from attrkit.specs import RuleSpec as RuleSpec
    from attrkit.specs import Where as Where
    from attrkit.specs import method as method
    from attrkit.specs import rule as rule
    from attrkit.wrapping import WrapperSpec as WrapperSpec
    from attrkit.wrapping import wrapper as wrapper

    __version__: str

_HOMES = {
    "Call": "layers",
    "Explanation": "explanation",
    "MethodSpec": "specs",
    "Problem": "problem",
    "RuleSpec": "specs",
    "RulesetSource": "specs",
    "Where": "specs",
    "WrapperSpec": "wrapping",
    "doctor": "doctoring",
    "explain": "explaining",
    "explain_each": "explaining",
    "hookimpl": "hookspecs",
    "method": "specs",
    "rule": "specs",
    "wrapper": "wrapping",
}

__all__ = [
    "Call",
    "Explanation",
    "MethodSpec",
    "Problem",
    "RuleSpec",
    "RulesetSource",
    "Where",
    "WrapperSpec",
    "__version__",
    "attr",
    "doctor",
    "explain",
    "explain_each",
    "hookimpl",
    "method",
    "rule",
    "wrapper",
]


def __getattr__(name: str) -> Any:
    """Public names, imported when they are first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("attrkit")
    if name == "attr":
        return import_module("attrkit.attr")
    if name in _HOMES:
        return getattr(import_module(f"attrkit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'attrkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
