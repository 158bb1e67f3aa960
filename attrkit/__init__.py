"""Explain PyTorch models; every method is a plugin. Importing this package imports neither torch nor a plugin."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrkit import attr as attr
    from attrkit.coalitions import NO_FEATURE as NO_FEATURE
    from attrkit.coalitions import Estimate as Estimate
    from attrkit.coalitions import Features as Features
    from attrkit.coalitions import Game as Game
    from attrkit.coalitions import Players as Players
    from attrkit.coalitions import Rows as Rows
    from attrkit.doctoring import doctor as doctor
    from attrkit.explaining import explain as explain
    from attrkit.explaining import explain_each as explain_each
    from attrkit.explanation import Explanation as Explanation
    from attrkit.hookspecs import hookimpl as hookimpl
    from attrkit.jobs import JobResult as JobResult
    from attrkit.jobs import ShardDone as ShardDone
    from attrkit.jobs import ShardQueue as ShardQueue
    from attrkit.jobs import ShardWork as ShardWork
    from attrkit.jobs import run as run
    from attrkit.layers import Call as Call
    from attrkit.parts import DesignSpec as DesignSpec
    from attrkit.parts import EstimatorSpec as EstimatorSpec
    from attrkit.parts import PlacementSpec as PlacementSpec
    from attrkit.parts import ReplacementSpec as ReplacementSpec
    from attrkit.parts import SegmenterSpec as SegmenterSpec
    from attrkit.parts import SurrogateSpec as SurrogateSpec
    from attrkit.parts import design as design
    from attrkit.parts import estimator as estimator
    from attrkit.parts import placement as placement
    from attrkit.parts import replacement as replacement
    from attrkit.parts import segmenter as segmenter
    from attrkit.parts import surrogate as surrogate
    from attrkit.problem import Problem as Problem
    from attrkit.propagation.operations import Operation as Operation
    from attrkit.specs import Deprecation as Deprecation
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
    "Deprecation": "specs",
    "DesignSpec": "parts",
    "Estimate": "coalitions",
    "EstimatorSpec": "parts",
    "Explanation": "explanation",
    "Features": "coalitions",
    "Game": "coalitions",
    "JobResult": "jobs",
    "MethodSpec": "specs",
    "NO_FEATURE": "coalitions",
    "Operation": "propagation.operations",
    "PlacementSpec": "parts",
    "Players": "coalitions",
    "Problem": "problem",
    "ReplacementSpec": "parts",
    "Rows": "coalitions",
    "RuleSpec": "specs",
    "RulesetSource": "specs",
    "SegmenterSpec": "parts",
    "ShardDone": "jobs",
    "ShardQueue": "jobs",
    "ShardWork": "jobs",
    "SurrogateSpec": "parts",
    "Where": "specs",
    "WrapperSpec": "wrapping",
    "design": "parts",
    "doctor": "doctoring",
    "estimator": "parts",
    "explain": "explaining",
    "explain_each": "explaining",
    "hookimpl": "hookspecs",
    "method": "specs",
    "placement": "parts",
    "replacement": "parts",
    "rule": "specs",
    "run": "jobs",
    "segmenter": "parts",
    "surrogate": "parts",
    "wrapper": "wrapping",
}

__all__ = [
    "NO_FEATURE",
    "Call",
    "Deprecation",
    "DesignSpec",
    "Estimate",
    "EstimatorSpec",
    "Explanation",
    "Features",
    "Game",
    "JobResult",
    "MethodSpec",
    "Operation",
    "PlacementSpec",
    "Players",
    "Problem",
    "ReplacementSpec",
    "Rows",
    "RuleSpec",
    "RulesetSource",
    "SegmenterSpec",
    "ShardDone",
    "ShardQueue",
    "ShardWork",
    "SurrogateSpec",
    "Where",
    "WrapperSpec",
    "__version__",
    "attr",
    "design",
    "doctor",
    "estimator",
    "explain",
    "explain_each",
    "hookimpl",
    "method",
    "placement",
    "replacement",
    "rule",
    "run",
    "segmenter",
    "surrogate",
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
