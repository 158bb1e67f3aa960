"""What a method returns: judged before anything casts, detaches or copies it."""

from __future__ import annotations

import torch
from torch import Tensor

from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import TwoInputs, points, relu, seeded
from attrkit.testing.subject import Subject, fits, shaped_like


@check()
def returns_tensors_shaped_like_the_site(s: Subject) -> None:
    """A tuple with one tensor for each tensor at the site, of its shape (1 where a dimension is summed up), on its device."""
    returned, problem = s.raw(seeded(), points(4, 5))
    assert isinstance(returned, tuple), f"a method returns a tuple of tensors, this one returned {type(returned).__name__}"
    assert all(isinstance(r, Tensor) for r in returned), f"not all of {returned!r} are tensors"
    wanted = s.place(problem)
    found, expected = [tuple(r.shape) for r in returned], [tuple(t.shape) for t in wanted]
    if s.spec.lands == "features":
        assert fits(s, returned, problem), f"returned shapes {found}; lands='features' is one tensor, (rows, features)"
    else:
        assert len(found) == len(expected), f"returned {len(found)} tensors for a site of {len(expected)}"
        assert fits(s, returned, problem), f"returned shapes {found} for a site of shapes {expected}"
    assert {r.device for r in returned} == {t.device for t in wanted}, "returned tensors of another device"


@check()
def one_example_is_enough(s: Subject) -> None:
    """A batch of one example is a batch."""
    returned, problem = s.raw(seeded(), points(1, 5))
    assert fits(s, returned, problem), "one example has attributions of another shape"


@check()
def keeps_the_precision(s: Subject) -> None:
    """Attributions are no less precise than the model: float64 stays, float32 is not made half."""
    for dtype in (torch.float64, torch.float32):
        returned, _ = s.raw(seeded().to(dtype), points(4, 5).to(dtype))
        for r in returned:
            assert r.is_floating_point(), f"returned {r.dtype}"
            assert torch.finfo(r.dtype).bits >= torch.finfo(dtype).bits, f"returned {r.dtype} for a model of {dtype}"
        for v in s.values(seeded().to(dtype), points(4, 5).to(dtype)) if s.spec.gradient else ():
            assert v.dtype is dtype, f"the result is {v.dtype} for a model of {dtype}"


@check()
def returns_no_graph(s: Subject) -> None:
    """Attributions do not require gradients, which would keep the model's activations alive."""
    returned, _ = s.raw(seeded(), points(4, 5))
    assert not any(r.requires_grad for r in returned), "returned a tensor with a graph; detach it"


@check()
def returns_finite_numbers(s: Subject) -> None:
    """No NaN and no infinity for ordinary inputs, also where these are zero."""
    for x in (points(4, 5), torch.zeros(2, 5, dtype=torch.float64)):
        returned, _ = s.raw(seeded(), x)
        assert all(bool(r.isfinite().all()) for r in returned), "returned NaN or infinity"


@check()
def returns_memory_of_its_own(s: Subject) -> None:
    """What is returned shares no memory with the inputs, into which a caller may write."""
    x = points(4, 5)
    returned, problem = s.raw(seeded(), x)
    theirs = {t.untyped_storage().data_ptr() for t in (x, *problem.inputs)}
    assert not any(r.untyped_storage().data_ptr() in theirs for r in returned), "returned the inputs' own memory; copy it"


@check(lambda s: s.where is not Where.LAYER and s.spec.lands != "features")
def answers_each_input(s: Subject) -> None:
    """Of several inputs each has its attributions, shaped like it."""
    inputs = s.at((points(4, 4), points(4, 3, seed=4)))
    returned, _ = s.raw(seeded(TwoInputs), inputs)
    fits = len(returned) == len(inputs) and all(map(shaped_like, returned, inputs))
    assert fits, "attributions of two inputs are not shaped like these"


@check(lambda s: s.spec.outputs == "every" and s.where is not Where.NEURON)
def explains_every_output(s: Subject) -> None:
    """Without a target every output is explained as it is alone."""
    together = s.values(seeded(relu), points(3, 5), target=None)
    for output in range(3):
        alone = s.values(seeded(relu), points(3, 5), target=output)
        for every, one in zip(together, alone, strict=True):
            torch.testing.assert_close(every[:, output], one, rtol=1e-6, atol=1e-6, check_dtype=False)
