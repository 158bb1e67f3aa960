"""What the noise tunnel promises around methods, and what it costs to the pass."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import attrkit
from attrkit.registry import registry
from attrkit.testing import conformance
from attrkit.testing.checks.cost import passes
from tests.plugins.models import built, draw, smooth_mlp

test_noise_tunnel = conformance("noise_tunnel", kind="wrapper")


@pytest.mark.parametrize("layer", [None, "2"])
@pytest.mark.parametrize(
    "name", ["noise_tunnel(saliency)", "noise_tunnel(integrated_gradients)", "noise_tunnel(noise_tunnel(saliency))"]
)
def test_it_takes_as_many_passes_as_it_declares(name, layer):
    options = {"nt_samples": 3} | ({"n_steps": 4} if "integrated" in name else {})
    found = attrkit.explain(built(smooth_mlp), draw(2, 5), name, target=1, layer=layer, **options)
    spec = registry.method(name)
    names = {**spec.resolve(options), "layer": int(layer is not None)}
    assert found.passes == {"forward": passes(spec.forward_passes, names), "backward": passes(spec.backward_passes, names)}


def test_options_of_the_method_keep_their_help():
    helps = {o.name: o.help for o in registry.method("noise_tunnel(integrated_gradients)").options}
    assert helps["n_steps"] == {o.name: o.help for o in registry.method("integrated_gradients").options}["n_steps"]
    assert all(helps.values())
