"""What single classes of the established API do differently from what their method's declaration alone would give."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any, Literal

import attrs

from attrkit.specs import Where


def _words(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.split()) if isinstance(text, str) else text


@attrs.frozen
class Form:
    """One class: its method, the order of its positional parameters, and what it names, fixes or presets itself.

    Attributes:
        order: the positional parameters of ``attribute``; every other one is keyword-only.
        constructor: options that the constructor takes instead, with their defaults.
        model: what the constructor calls the model.
        devices: whether the constructor of a layer or neuron class takes ``device_ids``.
        fixed: options that the class does not offer, and their values.
        defaults: defaults that differ from the declaration's.
        renamed: parameters by the name that the class gives them.
        family: the base class, where the declaration does not say it.
        parents: the classes that this one is a subclass of.
        every: whether a class for layers takes None for all layers.
        keywords: the option, a mapping, that takes the keywords which ``attribute`` has no parameter for.
        required: whether the options that the constructor takes have no default there.
        scores: whether the class offers ``return_input_shape``, and without it returns one number for each feature.
        futures: whether ``attribute_future`` works.
        flat: whether, where every output is explained, each is a row of its own.
        multiplies: the answer of ``multiplies_by_inputs``, where neither the declaration nor the constructor says it.
    """

    method: str
    where: Where
    order: tuple[str, ...] = attrs.field(converter=_words)
    constructor: tuple[str, ...] = attrs.field(converter=_words, default=())
    model: str = "forward_func"
    devices: bool = True
    fixed: Mapping[str, Any] = attrs.field(factory=dict)
    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    multiplies: bool | None = None
    family: Literal["gradient", "perturbation", "none"] | None = None
    parents: tuple[str, ...] = attrs.field(converter=_words, default=())
    every: bool = False
    keywords: str = ""
    required: bool = False
    scores: bool = False
    futures: bool = False
    flat: bool = False


_LIME = (
    "inputs baselines target additional_forward_args feature_mask n_samples perturbations_per_eval return_input_shape "
    "show_progress"
)

FORMS: dict[str, Form] = {
    "Saliency": Form("saliency", Where.INPUT, "inputs target abs additional_forward_args"),
    "NeuronGradient": Form(
        "saliency",
        Where.NEURON,
        "inputs neuron_selector additional_forward_args attribute_to_neuron_input",
        fixed={"abs": False},
    ),
    "InputXGradient": Form(
        "input_x_gradient", Where.INPUT, "inputs target additional_forward_args", fixed={"multiply_by_inputs": True}
    ),
    "LayerGradientXActivation": Form(
        "input_x_gradient",
        Where.LAYER,
        "inputs target additional_forward_args attribute_to_layer_input grad_kwargs",
        constructor="multiply_by_inputs",
    ),
    "IntegratedGradients": Form(
        "integrated_gradients",
        Where.INPUT,
        "inputs baselines target additional_forward_args n_steps method internal_batch_size return_convergence_delta",
        constructor="multiply_by_inputs",
    ),
    "LayerIntegratedGradients": Form(
        "integrated_gradients",
        Where.LAYER,
        "inputs baselines target additional_forward_args n_steps method internal_batch_size return_convergence_delta "
        "attribute_to_layer_input grad_kwargs",
        constructor="multiply_by_inputs",
    ),
    "NeuronIntegratedGradients": Form(
        "integrated_gradients",
        Where.NEURON,
        "inputs neuron_selector baselines additional_forward_args n_steps method internal_batch_size attribute_to_neuron_input",
        constructor="multiply_by_inputs",
    ),
    "LayerConductance": Form(
        "conductance",
        Where.LAYER,
        "inputs baselines target additional_forward_args n_steps method internal_batch_size return_convergence_delta "
        "attribute_to_layer_input grad_kwargs",
        fixed={"multiply_by_inputs": True},
    ),
    "NeuronConductance": Form(
        "conductance",
        Where.NEURON,
        "inputs neuron_selector baselines target additional_forward_args n_steps method internal_batch_size "
        "attribute_to_neuron_input grad_kwargs",
        constructor="multiply_by_inputs",
        defaults={"method": "riemann_trapezoid"},
    ),
    "InternalInfluence": Form(
        "internal_influence",
        Where.LAYER,
        "inputs baselines target additional_forward_args n_steps method internal_batch_size "
        "attribute_to_layer_input grad_kwargs",
    ),
    "GradientShap": Form(
        "gradient_shap",
        Where.INPUT,
        "inputs baselines n_samples stdevs target additional_forward_args return_convergence_delta",
        constructor="multiply_by_inputs",
    ),
    "LayerGradientShap": Form(
        "gradient_shap",
        Where.LAYER,
        "inputs baselines n_samples stdevs target additional_forward_args return_convergence_delta attribute_to_layer_input",
        constructor="multiply_by_inputs",
    ),
    "NeuronGradientShap": Form(
        "gradient_shap",
        Where.NEURON,
        "inputs neuron_selector baselines n_samples stdevs additional_forward_args attribute_to_neuron_input",
        constructor="multiply_by_inputs",
    ),
    "LayerActivation": Form(
        "activation",
        Where.LAYER,
        "inputs additional_forward_args attribute_to_layer_input",
        multiplies=True,
        family="none",
    ),
    "LayerGradCam": Form(
        "grad_cam",
        Where.LAYER,
        "inputs target additional_forward_args attribute_to_layer_input relu_attributions attr_dim_summation grad_kwargs",
    ),
    "GuidedGradCam": Form(
        "guided_grad_cam",
        Where.LAYER,
        "inputs target additional_forward_args interpolate_mode attribute_to_layer_input",
        model="model",
        family="gradient",
    ),
    "LRP": Form(
        "lrp",
        Where.INPUT,
        "inputs target additional_forward_args return_convergence_delta verbose",
        model="model",
        multiplies=True,
    ),
    "LayerLRP": Form(
        "lrp",
        Where.LAYER,
        "inputs target additional_forward_args return_convergence_delta attribute_to_layer_input verbose",
        model="model",
        devices=False,
        multiplies=True,
        parents="LRP",
        every=True,
    ),
    "DeepLift": Form(
        "deeplift",
        Where.INPUT,
        "inputs baselines target additional_forward_args return_convergence_delta custom_attribution_func",
        constructor="multiply_by_inputs eps",
        model="model",
    ),
    "LayerDeepLift": Form(
        "deeplift",
        Where.LAYER,
        "inputs baselines target additional_forward_args return_convergence_delta attribute_to_layer_input "
        "custom_attribution_func grad_kwargs",
        constructor="multiply_by_inputs",
        model="model",
        devices=False,
        parents="DeepLift",
    ),
    "NeuronDeepLift": Form(
        "deeplift",
        Where.NEURON,
        "inputs neuron_selector baselines additional_forward_args attribute_to_neuron_input custom_attribution_func",
        constructor="multiply_by_inputs",
        model="model",
        devices=False,
    ),
    "DeepLiftShap": Form(
        "deeplift_shap",
        Where.INPUT,
        "inputs baselines target additional_forward_args return_convergence_delta custom_attribution_func",
        constructor="multiply_by_inputs",
        model="model",
        parents="DeepLift",
    ),
    "LayerDeepLiftShap": Form(
        "deeplift_shap",
        Where.LAYER,
        "inputs baselines target additional_forward_args return_convergence_delta attribute_to_layer_input "
        "custom_attribution_func",
        constructor="multiply_by_inputs",
        model="model",
        devices=False,
        parents="LayerDeepLift DeepLiftShap",
    ),
    "NeuronDeepLiftShap": Form(
        "deeplift_shap",
        Where.NEURON,
        "inputs neuron_selector baselines additional_forward_args attribute_to_neuron_input custom_attribution_func",
        constructor="multiply_by_inputs",
        model="model",
        devices=False,
    ),
    "GuidedBackprop": Form("guided_backprop", Where.INPUT, "inputs target additional_forward_args", model="model"),
    "NeuronGuidedBackprop": Form(
        "guided_backprop",
        Where.NEURON,
        "inputs neuron_selector additional_forward_args attribute_to_neuron_input",
        model="model",
    ),
    "Deconvolution": Form("deconvnet", Where.INPUT, "inputs target additional_forward_args", model="model"),
    "NeuronDeconvolution": Form(
        "deconvnet", Where.NEURON, "inputs neuron_selector additional_forward_args attribute_to_neuron_input", model="model"
    ),
    "FeatureAblation": Form(
        "feature_ablation",
        Where.INPUT,
        "inputs baselines target additional_forward_args feature_mask perturbations_per_eval show_progress",
        flat=True,
        futures=True,
    ),
    "LayerFeatureAblation": Form(
        "feature_ablation",
        Where.LAYER,
        "inputs layer_baselines target additional_forward_args layer_mask attribute_to_layer_input perturbations_per_eval",
        flat=True,
        renamed={"baselines": "layer_baselines", "feature_mask": "layer_mask"},
    ),
    "NeuronFeatureAblation": Form(
        "feature_ablation",
        Where.NEURON,
        "inputs neuron_selector baselines additional_forward_args feature_mask attribute_to_neuron_input "
        "perturbations_per_eval",
    ),
    "FeaturePermutation": Form(
        "feature_permutation",
        Where.INPUT,
        "inputs target additional_forward_args feature_mask perturbations_per_eval show_progress",
        constructor="perm_func",
        flat=True,
        futures=True,
        parents="FeatureAblation",
    ),
    "LayerFeaturePermutation": Form(
        "feature_permutation",
        Where.LAYER,
        "inputs target additional_forward_args layer_mask perturbations_per_eval",
        flat=True,
        renamed={"feature_mask": "layer_mask"},
        parents="FeaturePermutation",
    ),
    "Occlusion": Form(
        "occlusion",
        Where.INPUT,
        "inputs sliding_window_shapes strides baselines target additional_forward_args perturbations_per_eval show_progress",
        defaults={"sliding_window_shapes": Parameter.empty},
        flat=True,
        parents="FeatureAblation",
    ),
    "ShapleyValueSampling": Form(
        "shapley_value_sampling",
        Where.INPUT,
        "inputs baselines target additional_forward_args feature_mask n_samples perturbations_per_eval show_progress",
        defaults={"n_samples": 25},
        futures=True,
    ),
    "ShapleyValues": Form(
        "shapley_values",
        Where.INPUT,
        "inputs baselines target additional_forward_args feature_mask perturbations_per_eval show_progress",
        futures=True,
        parents="ShapleyValueSampling",
    ),
    "LimeBase": Form(
        "lime_base",
        Where.INPUT,
        "inputs target additional_forward_args n_samples perturbations_per_eval show_progress",
        constructor="interpretable_model similarity_func perturb_func perturb_interpretable_space from_interp_rep_transform "
        "to_interp_rep_transform",
        required=True,
        keywords="perturb_kwargs",
        multiplies=False,
    ),
    "Lime": Form(
        "lime",
        Where.INPUT,
        _LIME,
        constructor="interpretable_model similarity_func perturb_func",
        defaults={"n_samples": 25, "standardise": False},
        scores=True,
        multiplies=False,
        parents="LimeBase",
    ),
    "KernelShap": Form(
        "kernel_shap",
        Where.INPUT,
        _LIME,
        defaults={"n_samples": 25},
        scores=True,
        multiplies=False,
        parents="Lime",
    ),
}
