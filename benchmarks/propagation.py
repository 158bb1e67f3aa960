"""What propagation costs, as ratios to one plain pass and to zennit and Captum: ``python -m benchmarks.propagation``."""

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import captum.attr
import torch
from torch import Tensor

import attrkit.attr
from benchmarks.measuring import SAMPLE, WARM_CALLS, Call, Cost, costs, difference
from benchmarks.propagation_models import Net, cnn, llama, resnet, vgg

_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks_propagation.md"
_TARGET, _LOW, _HIGH = 1, -5.0, 5.0
_HEAD = ("case", "attrkit / plain", "bar", "", "peer", "peer / attrkit", "bar", "", "attrkit / peer's memory", "difference")


@attrs.frozen
class Case:
    """A ruleset on a net. Bars: time and memory as ratios to a plain pass, and how many times faster than the peer it is."""

    name: str
    ours: Call
    peer: Call | None = None
    who: str = ""
    time: float | None = None
    memory: float | None = None
    faster: float | None = None
    lighter: float | None = None  # memory as a ratio to the peer's


def _plain(net: Net) -> Tensor:
    x = net.x.detach().requires_grad_()
    return torch.autograd.grad(net.model(x, *net.extra)[:, _TARGET].sum(), x)[0]


def _ours(net: Net, rules: str, **parameters: Any) -> Call:
    given = {"target": _TARGET, "rules": rules, "parameters": parameters, "additional_forward_args": net.extra or None}
    return partial(attrkit.attr.LRP(net.model).attribute, net.x, **given)


def _zennit() -> ModuleType | None:
    """Zennit, for which two classes stand in where torchvision, of which it needs no more, is not installed."""
    if find_spec("zennit") is None:
        return None
    stand_ins: dict[str, ModuleType] = {}
    if find_spec("torchvision") is None:
        names = ("torchvision", "torchvision.models", "torchvision.models.resnet")
        stand_ins = {name: ModuleType(name) for name in names}
        vars(stand_ins[names[-1]]).update(Bottleneck=type("Bottleneck", (), {}), BasicBlock=type("BasicBlock", (), {}))
    sys.modules.update(stand_ins)
    for part in ("attribution", "canonizers", "composites", "layer", "rules", "types"):
        importlib.import_module(f"zennit.{part}")
    for name in stand_ins:
        del sys.modules[name]
    return importlib.import_module("zennit")


def _theirs(zennit: ModuleType | None, net: Net, composite: str, **given: Any) -> Call | None:
    if zennit is None or net.modular is None:
        return None
    chosen = torch.eye(10)[_TARGET]

    def call() -> Tensor:
        made = getattr(zennit.composites, composite)(canonizers=[zennit.canonizers.SequentialMergeBatchNorm()], **given)
        with zennit.attribution.Gradient(model=net.modular, composite=made) as attributor:
            found: Tensor = attributor(net.x, lambda output: output * chosen)[1]
        return found

    return call


def _epsilon(zennit: ModuleType | None, net: Net) -> Call | None:
    """Zennit has no composite of epsilon alone."""
    if zennit is None or net.modular is None:
        return None
    chosen, composites, rules, types = torch.eye(10)[_TARGET], zennit.composites, zennit.rules, zennit.types
    plain = [(types.Activation, rules.Pass()), (types.BatchNorm, rules.Pass())]
    sums = [(types.AvgPool, rules.Norm()), (zennit.layer.Sum, rules.Norm())]
    layers = [*plain, *sums, (types.Linear, rules.Epsilon(1e-6))]

    def call() -> Tensor:
        made = composites.LayerMapComposite(layers, canonizers=[zennit.canonizers.SequentialMergeBatchNorm()])
        with zennit.attribution.Gradient(model=net.modular, composite=made) as attributor:
            found: Tensor = attributor(net.x, lambda output: output * chosen)[1]
        return found

    return call


def _composites(zennit: ModuleType | None, net: Net, memory: float) -> Iterator[Case]:
    box = {"low": torch.full_like(net.x, _LOW), "high": torch.full_like(net.x, _HIGH)}
    yield Case("lrp_0", _ours(net, "lrp_0"), time=1.05, memory=memory)
    yield Case("epsilon", _ours(net, "epsilon", epsilon=1e-6), _epsilon(zennit, net), "zennit", 1.15, memory, 1.8)
    for name, composite, ours, theirs, bar in (
        ("epsilon_plus", "EpsilonPlus", {}, {}, 1.6),
        ("epsilon_plus_flat", "EpsilonPlusFlat", {}, {}, None),
        ("epsilon_alpha2_beta1", "EpsilonAlpha2Beta1", {}, {}, None),
        ("epsilon_alpha2_beta1_flat", "EpsilonAlpha2Beta1Flat", {}, {}, None),
        ("epsilon_gamma_box", "EpsilonGammaBox", {"low": _LOW, "high": _HIGH}, box, 2.3),
    ):
        yield Case(name, _ours(net, name, **ours), _theirs(zennit, net, composite, **theirs), "zennit", bar, memory, 1.8)


def _images(zennit: ModuleType | None) -> Iterator[tuple[Net, list[Case]]]:
    for make, memory in ((vgg, 2.1), (resnet, 1.6)):
        net = make(zennit)
        yield net, list(_composites(zennit, net, memory))


def _captum() -> tuple[Net, list[Case]]:
    net = cnn(None)
    given = {"inputs": net.x, "target": _TARGET}
    net.model[-4] = _Flat().eval()  # Captum knows no Flatten
    lrp, lift = captum.attr.LRP(net.model), captum.attr.DeepLift(net.model)
    ours = partial(attrkit.attr.DeepLift(net.model).attribute, **given)
    return net, [
        Case("captum_default", _ours(net, "captum_default"), partial(lrp.attribute, **given), "captum", faster=1.4),
        Case("DeepLift", ours, partial(lift.attribute, **given), "captum", faster=1 / 0.65, lighter=0.45),
    ]


class _Flat(torch.nn.Module):
    """Flattens in a module with a child, which Captum passes by."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(torch.flatten(x, 1))
        return result


def _language() -> tuple[Net, list[Case]]:
    net = llama(None)
    return net, [Case("attnlrp", _ours(net, "attnlrp"), time=1.2)]


def _row(net: Net, case: Case, rounds: int, seconds: float) -> str:
    sides: dict[str, Call] = {"plain": partial(_plain, net), "ours": case.ours}
    if case.peer is not None:
        sides["peer"] = case.peer
    found = costs(sides, net.x.device, rounds, seconds)
    time, memory = found["ours"].over(found["plain"])
    met = (case.time is None or time <= case.time) and (case.memory is None or memory <= case.memory)
    known = case.time is not None or case.memory is not None
    mine = [f"{time:.2f} / {memory:.2f}", _bar("≤", case.time, case.memory), _verdict(met) if known else ""]
    return _cells([case.name, *mine, *_against(case, found)])


def _against(case: Case, found: dict[str, Cost]) -> list[str]:
    if case.peer is None:
        return ["", "", "", "", "", ""]
    faster, lighter = found["peer"].over(found["ours"])[0], found["ours"].over(found["peer"])[1]
    met = (case.faster is None or faster >= case.faster) and (case.lighter is None or lighter <= case.lighter)
    bar = _bar("≥", case.faster, None) + ("" if case.lighter is None else f" / ≤ {case.lighter:g}")
    return [case.who, f"{faster:.2f}", bar, _verdict(met), f"{lighter:.2f}", f"{difference(case.ours(), case.peer()):.0e}"]


def _bar(relation: str, time: float | None, memory: float | None) -> str:
    if time is None and memory is None:
        return ""
    return f"{relation} {'any' if time is None else f'{time:.3g}'}" + ("" if memory is None else f" / {memory:.3g}")


def _verdict(met: bool) -> str:  # noqa: FBT001 - a word for a fact
    return "pass" if met else "**fail**"


def _cells(texts: Any) -> str:
    return f"| {' | '.join(texts)} |"


_METHOD = f"""\
*plain* is one forward and one backward pass to the input. All sides run in one process on one thread, in turns, after
{WARM_CALLS} calls to warm up; a sample lasts {1e3 * SAMPLE:g} ms at least. Ratios are of processor time, the medians of
the rounds' ratios, and after a slash of peak memory. zennit gets a net of the same weights with a module for every
operation. Its batch norms still divide by one plus their eps once they are merged: that is most of the difference on the
residual net."""


def main() -> None:
    """Measure what the arguments choose."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.propagation", description=__doc__)
    parser.add_argument("--only", metavar="NAME", default="", help="the cases whose names contain this")
    parser.add_argument("--models", nargs="+", choices=("vgg", "resnet", "cnn", "llama"), default=[])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a row starts no further round")
    parser.add_argument("--write", action="store_true", help=f"renew docs/{_DOCUMENT.name}")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parts = ["# Benchmarks of propagation", "Written by `python -m benchmarks.propagation --write`; do not edit.", _METHOD]
    sources: list[Callable[[], Iterator[tuple[Net, list[Case]]]]] = [
        lambda: _images(_zennit()), lambda: iter([_captum()]), lambda: iter([_language()])
    ]  # fmt: skip
    for net, cases in (pair for source in sources for pair in source()):
        if given.models and net.name not in given.models:
            continue
        table = [_cells(_HEAD), _cells("---" for _ in _HEAD)]
        sys.stdout.write(f"\n{net.name}\n{table[0]}\n{table[1]}\n")
        for case in cases:
            if given.only in case.name:
                table.append(_row(net, case, given.rounds, given.seconds))
                sys.stdout.write(f"{table[-1]}\n")
                sys.stdout.flush()
        parts += [f"## {net.name}", "\n".join(table)]
    if given.write:
        _DOCUMENT.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
