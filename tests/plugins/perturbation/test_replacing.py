"""What the model sees in place of an absent feature, and which types come and go."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.models import draw


@pytest.fixture
def watched():
    """A function that notes the type of everything it is given and sums ``read`` of it, and the types it noted."""
    seen = set()

    def watch(read):
        def forward(*tensors):
            seen.update(t.dtype for t in tensors)
            return sum(read(t).flatten(1).sum(1) for t in tensors)

        return forward, seen

    return watch


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("baseline", [None, 1, "tensor"])
@pytest.mark.parametrize("mask", [None, torch.tensor([[0, 0, 1]])], ids=["each", "mask"])
def test_inputs_keep_their_type(attribute, watched, dtype, baseline, mask):
    forward, seen = watched(lambda t: t.double() ** 2)
    x = torch.tensor([[1, 0, 3], [0, 1, 2]]).to(dtype)
    reference = torch.zeros_like(x) if baseline is None else torch.ones_like(x)
    given = torch.ones(1, 3, dtype=torch.int64) if baseline == "tensor" else baseline
    found = attribute("FeatureAblation", forward)(x, given, feature_mask=mask)
    assert seen == {dtype}
    drop = x.double() ** 2 - reference.double() ** 2
    expected = drop if mask is None else torch.cat([drop[:, :2].sum(1, keepdim=True).expand(2, 2), drop[:, 2:]], dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
def test_attributions_have_the_type_of_the_output(attribute, dtype):
    x = torch.tensor([[1, 2, 3]])
    found = attribute("FeatureAblation", lambda x: x.sum(1).to(dtype))(x)
    assert found.dtype is dtype
    assert torch.equal(found, x.to(dtype))


def test_a_token_number_is_replaced_by_a_token_number(attribute):
    table, ids = draw(5, 2), torch.tensor([[1, 2, 4], [3, 3, 0]])
    found = attribute("FeatureAblation", lambda ids: table[ids].sum((1, 2)))(ids, 4)
    torch.testing.assert_close(found, table[ids].sum(2) - table[4].sum(), rtol=1e-12, atol=1e-12)


class Finite(torch.nn.Module):
    """Sums what is finite, and counts anything else as 10."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Identity()

    def forward(self, x):
        v = self.layer(x)
        return torch.where(v.isfinite(), v, 10).sum(1)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("name", ["FeatureAblation", "LayerFeatureAblation"])
def test_what_is_not_finite_is_replaced_like_anything_else(attribute, value, name):
    model, x = Finite(), torch.tensor([[value, 2.0], [3.0, value]])
    found = attribute(name, model, *([model.layer] if name.startswith("Layer") else []))(x)
    assert torch.equal(found, torch.tensor([[10.0, 2.0], [3.0, 10.0]]))


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_what_is_not_finite_in_the_baseline_reaches_only_what_it_replaces(attribute, value):
    x = torch.tensor([[1.0, 2.0, 3.0]])
    baseline = torch.tensor([[0.0, value, 0.0]])
    assert torch.equal(attribute("FeatureAblation", Finite())(x, baseline), torch.tensor([[1.0, -8.0, 3.0]]))


def test_attributions_that_are_not_finite_are_warned_about(attribute):
    with pytest.warns(UserWarning, match="feature_ablation: 1 of 2 attributions are not finite"):
        found = attribute("FeatureAblation", lambda x: x.sum(1))(torch.tensor([[1.0, 2.0]]), torch.tensor([[torch.nan, 0.0]]))
    assert found.isnan().tolist() == [[True, False]]


def test_no_gradient_is_recorded_and_none_is_needed(attribute):
    recorded = []

    def forward(x):
        recorded.append(torch.is_grad_enabled() or x.requires_grad)
        return torch.from_numpy(x.numpy().sum(1))

    x = draw(2, 3).requires_grad_()
    found = attribute("FeatureAblation", forward)(x)
    assert recorded
    assert not any(recorded)
    assert not found.requires_grad
    torch.testing.assert_close(found, x.detach(), rtol=1e-6, atol=1e-6)
