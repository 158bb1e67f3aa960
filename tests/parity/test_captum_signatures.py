"""What callers of the established API rely on besides values: signatures, relations between classes, names, flags."""

from __future__ import annotations

import inspect

import pytest
import torch

import attrkit
from attrkit.forms import FORMS
from attrkit.registry import registry
from tests.plugins.models import built, cnn, draw, mlp

pytestmark = pytest.mark.filterwarnings("ignore")  # of Captum's

BASES = [f"{kind}Attribution" for kind in ("", "Gradient", "Perturbation", "Internal", "Layer", "Neuron")]
#: Parameters that Captum added after the signatures that attrkit promises.
LATER = {"LayerGradientXActivation": {"memory_efficient"}}

#: What constructors cannot do without.
NEEDED = {
    "LimeBase": {
        "interpretable_model": "ridge",
        "similarity_func": lambda *_, **__: 1.0,
        "perturb_func": lambda x, **_: torch.ones(1, 6),
        "perturb_interpretable_space": True,
        "from_interp_rep_transform": lambda z, x, **_: z * x,
        "to_interp_rep_transform": None,
    }
}
classes = pytest.mark.parametrize("name", FORMS)


@pytest.fixture
def theirs(captum):
    """Captum's class by name; one base is not exported."""
    from captum.attr._utils.attribution import InternalAttribution

    return lambda name: InternalAttribution if name == "InternalAttribution" else getattr(captum, name)


def positional(function, left_out=()):
    """Names and defaults of the parameters that can be given by position, in order."""
    parameters = inspect.signature(function).parameters.values()
    known = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in left_out]
    return [(p.name, None if inspect.isfunction(p.default) else p.default) for p in known]  # a function of Captum's own


@classes
def test_the_constructor_takes_the_same(theirs, name):
    assert positional(getattr(attrkit.attr, name).__init__) == positional(theirs(name).__init__, LATER.get(name, ()))


@classes
def test_attribute_takes_the_same(theirs, name):
    known = positional(theirs(name).attribute, LATER.get(name, ()))
    known = [(word, None if word == "perturbations_per_eval" else default) for word, default in known]  # attrkit finds a size
    assert positional(getattr(attrkit.attr, name).attribute) == known


@classes
def test_what_attrkit_adds_is_keyword_only(theirs, name):
    known = inspect.signature(theirs(name).attribute).parameters
    for p in inspect.signature(getattr(attrkit.attr, name).attribute).parameters.values():
        assert p.name in known or (p.kind is p.KEYWORD_ONLY and p.default is not p.empty)


@pytest.mark.parametrize("name", [*FORMS, *BASES])
def test_compute_convergence_delta_takes_the_same(theirs, name):
    ours, known = (getattr(cls, "compute_convergence_delta", None) for cls in (getattr(attrkit.attr, name), theirs(name)))
    assert (ours is None) == (known is None)
    if ours is not None:
        assert positional(ours) == positional(known)


@pytest.mark.parametrize("name", [*FORMS, *BASES])
def test_relations_between_classes(theirs, name):
    others = [*BASES, *FORMS]
    ours = {other for other in others if issubclass(getattr(attrkit.attr, name), getattr(attrkit.attr, other))}
    assert ours == {other for other in others if issubclass(theirs(name), theirs(other))}


def instances(theirs, name, **options):
    """Objects of a class, attrkit's and Captum's, for the same model."""
    model = built(mlp)
    place = () if FORMS[name].where == "input" else (model[2],)
    options |= NEEDED.get(name, {})
    return (cls(model, *place, **options) for cls in (getattr(attrkit.attr, name), theirs(name)))


@classes
def test_names_and_flags(theirs, name):
    ours, known = instances(theirs, name)
    assert ours.get_name() == known.get_name() == type(ours).get_name()
    assert ours.has_convergence_delta() is known.has_convergence_delta()
    assert ours.multiplies_by_inputs is known.multiplies_by_inputs


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if "multiply_by_inputs" in form.constructor])
@pytest.mark.parametrize("multiply", [True, False])
def test_multiplies_by_inputs_is_what_the_constructor_was_told(theirs, name, multiply):
    ours, known = instances(theirs, name, multiply_by_inputs=multiply)
    assert ours.multiplies_by_inputs is known.multiplies_by_inputs is multiply


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if not form.futures])
def test_attribute_future_is_not_implemented(name):
    model = built(mlp)
    made = getattr(attrkit.attr, name)(model, *(() if FORMS[name].where == "input" else (model[2],)), **NEEDED.get(name, {}))
    with pytest.raises(NotImplementedError, match=f"{name} has no attribute_future; use attribute"):
        made.attribute_future()


@classes
def test_attribute_is_wrapped_once(attribute, name):
    model, x = (built(cnn), draw(2, 2, 8, 8)) if name == "GuidedGradCam" else (built(mlp), draw(2, 6))
    place = () if FORMS[name].where == "input" else (model[2],)
    cls = getattr(attrkit.attr, name)
    given = {"neuron_selector": 1} if FORMS[name].where == "neuron" else {"target": 1}
    if FORMS[name].method in ("gradient_shap", "deeplift_shap"):
        given["baselines"] = draw(3, 6)
    if registry.method(FORMS[name].method).stochastic:
        given["seed"] = 1
    if name == "Occlusion":
        given["sliding_window_shapes"] = (2,)
    options = NEEDED.get(name, {})
    x = x[:1] if options else x
    if name == "NeuronConductance":
        given["target"] = 1
    assert cls.attribute.__name__ == cls.attribute.__wrapped__.__name__ == "attribute"
    assert not hasattr(cls.attribute.__wrapped__, "__wrapped__")
    found = cls.attribute.__wrapped__(cls(model, *place, **options), x, **given)
    torch.testing.assert_close(found, attribute(name, model, *place, **options)(x, **given), rtol=1e-12, atol=1e-15)


@classes
def test_the_class_is_public_and_documented(name):
    cls = getattr(attrkit.attr, name)
    assert (cls.__module__, cls.__name__) == ("attrkit.attr", name)
    assert name in dir(attrkit.attr)
    assert cls.__doc__
    assert cls.attribute.__doc__
    assert getattr(attrkit.attr, name) is cls


@classes
def test_the_attributes_that_callers_read(theirs, name):
    ours, known = instances(theirs, name)
    public = {"forward_func", "layer", "device_ids", "gradient_func", "model"} & set(vars(known))
    assert public
    assert all(hasattr(ours, attribute) for attribute in public)
