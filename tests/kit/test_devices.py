"""What the kit says of methods on a GPU; our own are checked there by their conformance tests."""

from __future__ import annotations

import pytest
import torch

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit.specs import Where
from attrkit.testing.checks import CHECKS
from attrkit.testing.conformance import judged
from attrkit.testing.subject import Subject

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@method("left_on_the_cpu", where={"input"}, backward_passes="1")
def left_on_the_cpu(problem: Problem) -> Tensors:
    """The gradient, scaled on the CPU, where it stays."""
    return tuple(g.cpu() / 2 for g in problem.value_and_grad()[1])


@method("drawn_on_the_device", where={"input"}, stochastic=True, backward_passes="1")
def drawn_on_the_device(problem: Problem) -> Tensors:
    """The gradient of noisy inputs, by a generator of the inputs' device, which draws other numbers than the CPU's."""
    generator = torch.Generator(problem.inputs[0].device).manual_seed(problem.seed)
    noisy = tuple(x + torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device) for x in problem.inputs)
    return next(problem.grads([noisy], 1))


@pytest.mark.parametrize("fault", [left_on_the_cpu, drawn_on_the_device])
def test_a_fault_is_named(fault):
    with pytest.raises((AssertionError, RuntimeError)):
        judged(CHECKS["devices_agree"], Subject(fault, Where.INPUT))
