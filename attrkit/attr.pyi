"""Written by "python -m attrkit.stubs"; do not edit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, overload

from torch import Tensor, nn

from attrkit.bases import Attribution as Attribution
from attrkit.bases import GradientAttribution as GradientAttribution
from attrkit.bases import InternalAttribution as InternalAttribution
from attrkit.bases import LayerAttribution as LayerAttribution
from attrkit.bases import NeuronAttribution as NeuronAttribution
from attrkit.bases import PerturbationAttribution as PerturbationAttribution
from attrkit_propagation.module_rules import Alpha1_Beta0_Rule as Alpha1_Beta0_Rule
from attrkit_propagation.module_rules import EpsilonRule as EpsilonRule
from attrkit_propagation.module_rules import GammaRule as GammaRule
from attrkit_propagation.module_rules import IdentityRule as IdentityRule
from attrkit_propagation.module_rules import PropagationRule as PropagationRule

Inputs = TypeVar("Inputs", Tensor, tuple[Tensor, ...])
Baselines: TypeAlias = Tensor | float | tuple[Tensor | float, ...] | None
Target: TypeAlias = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None
Neuron: TypeAlias = int | tuple[int | slice, ...] | Callable[..., Tensor]
Layer: TypeAlias = str | nn.Module
LayerValues: TypeAlias = Any  # a tensor where the layer passes on one, else a tuple; a list for a list of layers

__all__ = [
    "Alpha1_Beta0_Rule",
    "Attribution",
    "Banzhaf",
    "Conductance",
    "Contrast",
    "Deconvolution",
    "DeepLift",
    "DeepLiftShap",
    "EpsilonRule",
    "ExpectedGradients",
    "FeatureAblation",
    "FeaturePermutation",
    "GammaRule",
    "GradientAttribution",
    "GradientShap",
    "GuidedBackprop",
    "GuidedGradCam",
    "IdentityRule",
    "InputBaselineXGradient",
    "InputXGradient",
    "IntegratedGradients",
    "InternalAttribution",
    "InternalInfluence",
    "KernelShap",
    "LRP",
    "LayerActivation",
    "LayerAttribution",
    "LayerBanzhaf",
    "LayerCam",
    "LayerConductance",
    "LayerDeconvolution",
    "LayerDeepLift",
    "LayerDeepLiftShap",
    "LayerEigenCam",
    "LayerExpectedGradients",
    "LayerFeatureAblation",
    "LayerFeaturePermutation",
    "LayerGradCam",
    "LayerGradCamPlusPlus",
    "LayerGradientShap",
    "LayerGradientXActivation",
    "LayerGuidedBackprop",
    "LayerHiResCam",
    "LayerInputBaselineXGradient",
    "LayerIntegratedGradients",
    "LayerKernelShap",
    "LayerLRP",
    "LayerLime",
    "LayerLoco",
    "LayerOcclusion",
    "LayerOwen",
    "LayerRise",
    "LayerSaliency",
    "LayerShapleyInteractions",
    "LayerShapleyValueSampling",
    "LayerShapleyValues",
    "LayerSobol",
    "LayerXGradCam",
    "Lime",
    "LimeBase",
    "Loco",
    "MultiTarget",
    "NeuronAttribution",
    "NeuronBanzhaf",
    "NeuronConductance",
    "NeuronDeconvolution",
    "NeuronDeepLift",
    "NeuronDeepLiftShap",
    "NeuronExpectedGradients",
    "NeuronFeatureAblation",
    "NeuronGradient",
    "NeuronGradientShap",
    "NeuronGuidedBackprop",
    "NeuronInputBaselineXGradient",
    "NeuronInputXGradient",
    "NeuronIntegratedGradients",
    "NeuronKernelShap",
    "NeuronLRP",
    "NeuronLime",
    "NeuronLoco",
    "NeuronOcclusion",
    "NeuronOwen",
    "NeuronRise",
    "NeuronShapleyInteractions",
    "NeuronShapleyValueSampling",
    "NeuronShapleyValues",
    "NeuronSobol",
    "NoiseTunnel",
    "Occlusion",
    "Owen",
    "PerturbationAttribution",
    "PropagationRule",
    "Rise",
    "Saliency",
    "SeedAverage",
    "ShapleyInteractions",
    "ShapleyValueSampling",
    "ShapleyValues",
    "Sobol",
]

class Banzhaf(PerturbationAttribution):
    """Mean change of the objective by each feature over all coalitions of the others, each of them equally likely."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class Conductance(GradientAttribution):
    """Sum, along the inputs' path, the gradient at a place times the change of its value."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int = 50, method: str = 'gausslegendre', multiply_by_inputs: bool = True, internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, grad_kwargs: Mapping[str, Any] | None = None) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int = 50, method: str = 'gausslegendre', multiply_by_inputs: bool = True, internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> Inputs: ...

class Contrast(Attribution):
    """Explain why the target rather than another one: the attributions for it minus those for the other."""

    def __init__(self, attribution_method: Attribution) -> None: ...
    def attribute(self, inputs: Any, against: Any = None, *, seed: int | None = None, **kwargs: Any) -> Any: ...

class Deconvolution(GradientAttribution):
    """Gradient of the objective, of which every ReLU hands back what is positive, whatever its own input was."""

    def __init__(self, model: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *, rules: Any = 'deconvnet', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class DeepLift(GradientAttribution):
    """Compare with a baseline at every operation, and hand on what each input's change contributes to the objective's."""

    def __init__(self, model: Callable[..., Any], multiply_by_inputs: bool = True, eps: float = 1e-10) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], custom_attribution_func: Callable[..., Any] | None = None, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, custom_attribution_func: Callable[..., Any] | None = None, *, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class DeepLiftShap(DeepLift):
    """Average of deeplift over the baselines: every example is compared with every row of their distribution."""

    def __init__(self, model: Callable[..., Any], multiply_by_inputs: bool = True) -> None: ...
    @overload  # type: ignore[override]
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], custom_attribution_func: Callable[..., Any] | None = None, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, custom_attribution_func: Callable[..., Any] | None = None, *, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...  # pyright: ignore[reportIncompatibleMethodOverride]

class ExpectedGradients(GradientAttribution):
    """Average gradient between the inputs and the rows of a background, times their difference: integrated over both."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, n_samples: int = 50, multiply_by_inputs: bool = True, internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, n_samples: int = 50, multiply_by_inputs: bool = True, internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> Inputs: ...

class FeatureAblation(PerturbationAttribution):
    """Drop of the objective when each feature is replaced by its baseline, the others left as they are."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, perturbations_per_eval: int | None = None, show_progress: bool = False, *, replacement: Any = None, background: Any = None) -> Inputs: ...

class FeaturePermutation(FeatureAblation):
    """Drop of the objective when the values of each feature are permuted within the batch, the others left as they are."""

    def __init__(self, forward_func: Callable[..., Any], perm_func: Any = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, perturbations_per_eval: int | None = None, show_progress: bool = False, *, n_repeats: int = 1, seed: int | None = None) -> Inputs: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

class GradientShap(GradientAttribution):
    """Average of input_baseline_x_gradient over noisy copies of the inputs, each with a baseline of its own."""

    def __init__(self, forward_func: Callable[..., Any], multiply_by_inputs: bool = True) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, n_samples: int = 5, stdevs: float | Sequence[float] = 0.0, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, seed: int | None = None) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, n_samples: int = 5, stdevs: float | Sequence[float] = 0.0, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, seed: int | None = None) -> Inputs: ...

class GuidedBackprop(GradientAttribution):
    """Gradient of the objective, of which every ReLU that lets something through hands back what is positive."""

    def __init__(self, model: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *, rules: Any = 'guided_backprop', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class GuidedGradCam(GradientAttribution):
    """Weigh a layer's channels by their mean gradient, keep what speaks for the objective, and scale the guided gradient by it."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, interpolate_mode: str = 'nearest', attribute_to_layer_input: bool = False, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> LayerValues: ...

class InputBaselineXGradient(GradientAttribution):
    """Gradient at a random place on the straight path from a random baseline, times the difference from that baseline."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, multiply_by_inputs: bool = True, internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, multiply_by_inputs: bool = True, internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> Inputs: ...

class InputXGradient(GradientAttribution):
    """Gradient of the objective times the value: what each feature contributes to first order."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> Inputs: ...

class IntegratedGradients(GradientAttribution):
    """Average the gradient on the straight path from baseline to point, and scale by their difference."""

    def __init__(self, forward_func: Callable[..., Any], multiply_by_inputs: bool = True) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int | Literal['auto'] = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], tol: float = 0.01, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int | Literal['auto'] = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, *, tol: float = 0.01, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> Inputs: ...

class InternalInfluence(LayerAttribution, GradientAttribution):
    """Average the gradient at a layer while the inputs go from the baseline to their values."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, attribute_to_layer_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, *, show_progress: bool = False) -> LayerValues: ...

class KernelShap(Lime):
    """Shapley values as accurate as a number of evaluations of the model allows, with standard errors."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, n_samples: int | Literal['auto'] = 25, perturbations_per_eval: int | None = None, return_input_shape: Any = True, show_progress: bool = False, *, replacement: Any = None, background: Any = None, estimator: Any = 'auto', tol: float = 0.05, seed: int | None = None) -> Inputs: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

class LRP(GradientAttribution):
    """Send the objective's value back through the model, shared at every operation by the rule that a ruleset declares."""

    def __init__(self, model: Callable[..., Any]) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], verbose: bool = False, rules: Any = 'default', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, verbose: bool = False, *, rules: Any = 'default', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> Inputs: ...

class LayerActivation(LayerAttribution):
    """What the layer passes on for the inputs."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, additional_forward_args: Any = None, attribute_to_layer_input: bool = False, *, target: Target = None, perturbations_per_eval: int | None = None, show_progress: bool = False) -> LayerValues: ...

class LayerBanzhaf(LayerAttribution, PerturbationAttribution):
    """Mean change of the objective by each feature over all coalitions of the others, each of them equally likely."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerCam(LayerAttribution, GradientAttribution):
    """Weigh each place of each channel by the positive part of its gradient, and add the channels up."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, relu_attributions: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class LayerConductance(LayerAttribution, GradientAttribution):
    """Sum, along the inputs' path, the gradient at a place times the change of its value."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], attribute_to_layer_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, attribute_to_layer_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, *, show_progress: bool = False) -> LayerValues: ...

class LayerDeconvolution(LayerAttribution, GradientAttribution):
    """Gradient of the objective, of which every ReLU hands back what is positive, whatever its own input was."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, rules: Any = 'deconvnet', parameters: Mapping[str, Any] | None = None, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, verbose: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class LayerDeepLift(DeepLift, LayerAttribution):
    """Compare with a baseline at every operation, and hand on what each input's change contributes to the objective's."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], multiply_by_inputs: bool = True) -> None: ...
    @overload  # type: ignore[override]
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], attribute_to_layer_input: bool = False, custom_attribution_func: Callable[..., Any] | None = None, grad_kwargs: Mapping[str, Any] | None = None, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, show_progress: bool = False, verbose: bool = False) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, attribute_to_layer_input: bool = False, custom_attribution_func: Callable[..., Any] | None = None, grad_kwargs: Mapping[str, Any] | None = None, *, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, show_progress: bool = False, verbose: bool = False) -> LayerValues: ...  # pyright: ignore[reportIncompatibleMethodOverride]

class LayerDeepLiftShap(LayerDeepLift, DeepLiftShap):
    """Average of deeplift over the baselines: every example is compared with every row of their distribution."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], multiply_by_inputs: bool = True) -> None: ...
    @overload  # type: ignore[override]
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], attribute_to_layer_input: bool = False, custom_attribution_func: Callable[..., Any] | None = None, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, attribute_to_layer_input: bool = False, custom_attribution_func: Callable[..., Any] | None = None, *, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> LayerValues: ...  # pyright: ignore[reportIncompatibleMethodOverride]

class LayerEigenCam(LayerAttribution, PerturbationAttribution):
    """Project the channels at each place on their first principal direction; the objective is not looked at."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, relu_attributions: bool = True, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False) -> LayerValues: ...

class LayerExpectedGradients(LayerAttribution, GradientAttribution):
    """Average gradient between the inputs and the rows of a background, times their difference: integrated over both."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, n_samples: int = 50, multiply_by_inputs: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, n_samples: int = 50, multiply_by_inputs: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> LayerValues: ...

class LayerFeatureAblation(LayerAttribution, PerturbationAttribution):
    """Drop of the objective when each feature is replaced by its baseline, the others left as they are."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, layer_baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, layer_mask: Tensor | tuple[Tensor, ...] | None = None, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, *, replacement: Any = None, background: Any = None, show_progress: bool = False) -> LayerValues: ...

class LayerFeaturePermutation(FeaturePermutation, LayerAttribution):
    """Drop of the objective when the values of each feature are permuted within the batch, the others left as they are."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, layer_mask: Tensor | tuple[Tensor, ...] | None = None, perturbations_per_eval: int | None = None, *, perm_func: Any = None, n_repeats: int = 1, attribute_to_layer_input: bool = False, show_progress: bool = False, seed: int | None = None) -> LayerValues: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

class LayerGradCam(LayerAttribution, GradientAttribution):
    """Weigh each channel by its mean gradient, and add the channels up."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, attribute_to_layer_input: bool = False, relu_attributions: bool = False, attr_dim_summation: bool = True, grad_kwargs: Mapping[str, Any] | None = None, *, internal_batch_size: int | None = None, show_progress: bool = False) -> LayerValues: ...

class LayerGradCamPlusPlus(LayerAttribution, GradientAttribution):
    """Weigh each channel by its positive gradients, those places most where the channel is seldom active."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, relu_attributions: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class LayerGradientShap(LayerAttribution, GradientAttribution):
    """Average of input_baseline_x_gradient over noisy copies of the inputs, each with a baseline of its own."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None, multiply_by_inputs: bool = True) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, n_samples: int = 5, stdevs: float | Sequence[float] = 0.0, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, seed: int | None = None) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, n_samples: int = 5, stdevs: float | Sequence[float] = 0.0, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, attribute_to_layer_input: bool = False, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, seed: int | None = None) -> LayerValues: ...

class LayerGradientXActivation(LayerAttribution, GradientAttribution):
    """Gradient of the objective times the value: what each feature contributes to first order."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None, multiply_by_inputs: bool = True) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, attribute_to_layer_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, *, internal_batch_size: int | None = None, show_progress: bool = False) -> LayerValues: ...

class LayerGuidedBackprop(LayerAttribution, GradientAttribution):
    """Gradient of the objective, of which every ReLU that lets something through hands back what is positive."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, rules: Any = 'guided_backprop', parameters: Mapping[str, Any] | None = None, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, verbose: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class LayerHiResCam(LayerAttribution, GradientAttribution):
    """Multiply value and gradient place by place, and add the channels up."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, relu_attributions: bool = False, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class LayerInputBaselineXGradient(LayerAttribution, GradientAttribution):
    """Gradient at a random place on the straight path from a random baseline, times the difference from that baseline."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, multiply_by_inputs: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines, target: Target = None, additional_forward_args: Any = None, multiply_by_inputs: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> LayerValues: ...

class LayerIntegratedGradients(LayerAttribution, GradientAttribution):
    """Average the gradient on the straight path from baseline to point, and scale by their difference."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None, multiply_by_inputs: bool = True) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int | Literal['auto'] = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, *, return_convergence_delta: Literal[True], attribute_to_layer_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, tol: float = 0.01, show_progress: bool = False) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int | Literal['auto'] = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, return_convergence_delta: Literal[False] = False, attribute_to_layer_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, *, tol: float = 0.01, show_progress: bool = False) -> LayerValues: ...

class LayerKernelShap(LayerAttribution, PerturbationAttribution):
    """Shapley values as accurate as a number of evaluations of the model allows, with standard errors."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int | Literal['auto'] = 'auto', estimator: Any = 'auto', tol: float = 0.05, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, seed: int | None = None) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int | Literal['auto'] = 'auto', estimator: Any = 'auto', tol: float = 0.05, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerLRP(LRP, LayerAttribution):
    """Send the objective's value back through the model, shared at every operation by the rule that a ruleset declares."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer]) -> None: ...
    @overload  # type: ignore[override]
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *, return_convergence_delta: Literal[True], attribute_to_layer_input: bool = False, verbose: bool = False, rules: Any = 'default', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, return_convergence_delta: Literal[False] = False, attribute_to_layer_input: bool = False, verbose: bool = False, *, rules: Any = 'default', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> LayerValues: ...  # pyright: ignore[reportIncompatibleMethodOverride]

class LayerLime(LayerAttribution, PerturbationAttribution):
    """LIME: coefficients of a linear model of which features are there, fitted to the model's values around each example."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, design: Any = 'bernoulli', kernel: Literal['cosine', 'euclidean', 'hamming'] = 'cosine', kernel_width: float = 1.0, kernel_space: Literal['site', 'features'] = 'site', surrogate: Any = 'lasso', standardise: bool = True, interpretable_model: Any = None, similarity_func: Callable[..., Any] | None = None, perturb_func: Callable[..., Any] | None = None, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerLoco(LayerAttribution, PerturbationAttribution):
    """Excess absolute error without each feature: ``|truth - f(x without it)| - |truth - f(x)|``."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, truth: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False) -> LayerValues: ...

class LayerOcclusion(LayerAttribution, PerturbationAttribution):
    """Mean drop of the objective over the windows that cover a position, each replaced in turn."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, sliding_window_shapes: Any = None, strides: Any = None, replacement: Any = None, background: Any = None, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False) -> LayerValues: ...

class LayerOwen(LayerAttribution, PerturbationAttribution):
    """Shapley values over the orders in which the features of a group follow one another: partition values."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, groups: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, seed: int | None = None) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, groups: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerRise(LayerAttribution, PerturbationAttribution):
    """Mean of the objective over random masks in which a position is there, the absent ones replaced."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, share: float = 0.5, grid: int = 7, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerSaliency(LayerAttribution, GradientAttribution):
    """Gradient of the objective, in absolute value unless ``abs=False``."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, abs: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class LayerShapleyInteractions(LayerAttribution, PerturbationAttribution):
    """What each feature changes by itself (n-Shapley values of order 2); what each pair changes beyond that is in the details."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerShapleyValueSampling(LayerAttribution, PerturbationAttribution):
    """Mean of what a feature adds over random orders of joining; features may be many."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int | Literal['auto'] = 25, estimator: Literal['antithetic', 'permutation'] = 'antithetic', tol: float = 0.05, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, seed: int | None = None) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int | Literal['auto'] = 25, estimator: Literal['antithetic', 'permutation'] = 'antithetic', tol: float = 0.05, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerShapleyValues(LayerAttribution, PerturbationAttribution):
    """Mean of what a feature adds over all orders of joining, from every set of features evaluated once."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False) -> tuple[LayerValues, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False) -> LayerValues: ...

class LayerSobol(LayerAttribution, PerturbationAttribution):
    """Sobol's total index of each feature: its share, alone and with others, in the objective's variance over random masks."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 32, attribute_to_layer_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> LayerValues: ...

class LayerXGradCam(LayerAttribution, GradientAttribution):
    """Weigh each channel by its gradients, averaged in proportion to its values, and add the channels up."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, relu_attributions: bool = True, attribute_to_layer_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> LayerValues: ...

class Lime(LimeBase):
    """LIME: coefficients of a linear model of which features are there, fitted to the model's values around each example."""

    def __init__(self, forward_func: Callable[..., Any], interpretable_model: Any = None, similarity_func: Callable[..., Any] | None = None, perturb_func: Callable[..., Any] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, n_samples: int = 25, perturbations_per_eval: int | None = None, return_input_shape: Any = True, show_progress: bool = False, *, replacement: Any = None, background: Any = None, design: Any = 'bernoulli', kernel: Literal['cosine', 'euclidean', 'hamming'] = 'cosine', kernel_width: float = 1.0, kernel_space: Literal['site', 'features'] = 'site', surrogate: Any = 'lasso', standardise: bool = False, seed: int | None = None) -> Inputs: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

class LimeBase(PerturbationAttribution):
    """LIME in any interpretable space: coefficients of a surrogate, shape ``(1, features)``, for one example."""

    def __init__(self, forward_func: Callable[..., Any], interpretable_model: Any, similarity_func: Callable[..., Any] | None, perturb_func: Callable[..., Any] | None, perturb_interpretable_space: bool, from_interp_rep_transform: Callable[..., Any] | None, to_interp_rep_transform: Callable[..., Any] | None) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, n_samples: int = 50, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None, kwargs: Any) -> Inputs: ...

class Loco(PerturbationAttribution):
    """Excess absolute error without each feature: ``|truth - f(x without it)| - |truth - f(x)|``."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, truth: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, perturbations_per_eval: int | None = None, show_progress: bool = False) -> Inputs: ...

class MultiTarget(Attribution):
    """Sum up a method's attributions for several targets."""

    def __init__(self, attribution_method: Attribution) -> None: ...
    def attribute(self, inputs: Any, targets: Sequence[Any] = (), reduce: str = 'mean', *, seed: int | None = None, **kwargs: Any) -> Any: ...

class NeuronBanzhaf(NeuronAttribution, PerturbationAttribution):
    """Mean change of the objective by each feature over all coalitions of the others, each of them equally likely."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronConductance(NeuronAttribution, GradientAttribution):
    """Sum, along the inputs' path, the gradient at a place times the change of its value."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None, multiply_by_inputs: bool = True) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, n_steps: int = 50, method: str = 'riemann_trapezoid', internal_batch_size: int | None = None, attribute_to_neuron_input: bool = False, grad_kwargs: Mapping[str, Any] | None = None, *, show_progress: bool = False) -> Inputs: ...

class NeuronDeconvolution(NeuronAttribution, GradientAttribution):
    """Gradient of the objective, of which every ReLU hands back what is positive, whatever its own input was."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False, *, rules: Any = 'deconvnet', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class NeuronDeepLift(NeuronAttribution, GradientAttribution):
    """Compare with a baseline at every operation, and hand on what each input's change contributes to the objective's."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], multiply_by_inputs: bool = True) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False, custom_attribution_func: Callable[..., Any] | None = None, *, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class NeuronDeepLiftShap(NeuronAttribution, GradientAttribution):
    """Average of deeplift over the baselines: every example is compared with every row of their distribution."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], multiply_by_inputs: bool = True) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False, custom_attribution_func: Callable[..., Any] | None = None, *, rules: Any = 'deeplift_transformer', parameters: Mapping[str, Any] | None = None, eps: float = 1e-10, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class NeuronExpectedGradients(NeuronAttribution, GradientAttribution):
    """Average gradient between the inputs and the rows of a background, times their difference: integrated over both."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines, additional_forward_args: Any = None, n_samples: int = 50, multiply_by_inputs: bool = True, attribute_to_neuron_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> Inputs: ...

class NeuronFeatureAblation(NeuronAttribution, PerturbationAttribution):
    """Drop of the objective when each feature is replaced by its baseline, the others left as they are."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, *, replacement: Any = None, background: Any = None, show_progress: bool = False) -> Inputs: ...

class NeuronGradient(NeuronAttribution, GradientAttribution):
    """Gradient of the objective, in absolute value unless ``abs=False``."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> Inputs: ...

class NeuronGradientShap(NeuronAttribution, GradientAttribution):
    """Average of input_baseline_x_gradient over noisy copies of the inputs, each with a baseline of its own."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None, multiply_by_inputs: bool = True) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines, n_samples: int = 5, stdevs: float | Sequence[float] = 0.0, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, seed: int | None = None) -> Inputs: ...

class NeuronGuidedBackprop(NeuronAttribution, GradientAttribution):
    """Gradient of the objective, of which every ReLU that lets something through hands back what is positive."""

    def __init__(self, model: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False, *, rules: Any = 'guided_backprop', parameters: Mapping[str, Any] | None = None, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False, verbose: bool = False) -> Inputs: ...

class NeuronInputBaselineXGradient(NeuronAttribution, GradientAttribution):
    """Gradient at a random place on the straight path from a random baseline, times the difference from that baseline."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines, additional_forward_args: Any = None, multiply_by_inputs: bool = True, attribute_to_neuron_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None, seed: int | None = None) -> Inputs: ...

class NeuronInputXGradient(NeuronAttribution, GradientAttribution):
    """Gradient of the objective times the value: what each feature contributes to first order."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, additional_forward_args: Any = None, multiply_by_inputs: bool = True, attribute_to_neuron_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> Inputs: ...

class NeuronIntegratedGradients(NeuronAttribution, GradientAttribution):
    """Average the gradient on the straight path from baseline to point, and scale by their difference."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None, multiply_by_inputs: bool = True) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, n_steps: int | Literal['auto'] = 50, method: str = 'gausslegendre', internal_batch_size: int | None = None, attribute_to_neuron_input: bool = False, *, tol: float = 0.01, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> Inputs: ...

class NeuronKernelShap(NeuronAttribution, PerturbationAttribution):
    """Shapley values as accurate as a number of evaluations of the model allows, with standard errors."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int | Literal['auto'] = 'auto', estimator: Any = 'auto', tol: float = 0.05, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronLRP(NeuronAttribution, GradientAttribution):
    """Send the objective's value back through the model, shared at every operation by the rule that a ruleset declares."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, additional_forward_args: Any = None, rules: Any = 'default', parameters: Mapping[str, Any] | None = None, attribute_to_neuron_input: bool = False, internal_batch_size: int | None = None, show_progress: bool = False, verbose: bool = False, *, grad_kwargs: Mapping[str, Any] | None = None) -> Inputs: ...

class NeuronLime(NeuronAttribution, PerturbationAttribution):
    """LIME: coefficients of a linear model of which features are there, fitted to the model's values around each example."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, design: Any = 'bernoulli', kernel: Literal['cosine', 'euclidean', 'hamming'] = 'cosine', kernel_width: float = 1.0, kernel_space: Literal['site', 'features'] = 'site', surrogate: Any = 'lasso', standardise: bool = True, interpretable_model: Any = None, similarity_func: Callable[..., Any] | None = None, perturb_func: Callable[..., Any] | None = None, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronLoco(NeuronAttribution, PerturbationAttribution):
    """Excess absolute error without each feature: ``|truth - f(x without it)| - |truth - f(x)|``."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, truth: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False) -> Inputs: ...

class NeuronOcclusion(NeuronAttribution, PerturbationAttribution):
    """Mean drop of the objective over the windows that cover a position, each replaced in turn."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, sliding_window_shapes: Any = None, strides: Any = None, replacement: Any = None, background: Any = None, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False) -> Inputs: ...

class NeuronOwen(NeuronAttribution, PerturbationAttribution):
    """Shapley values over the orders in which the features of a group follow one another: partition values."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, groups: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronRise(NeuronAttribution, PerturbationAttribution):
    """Mean of the objective over random masks in which a position is there, the absent ones replaced."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, share: float = 0.5, grid: int = 7, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronShapleyInteractions(NeuronAttribution, PerturbationAttribution):
    """What each feature changes by itself (n-Shapley values of order 2); what each pair changes beyond that is in the details."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronShapleyValueSampling(NeuronAttribution, PerturbationAttribution):
    """Mean of what a feature adds over random orders of joining; features may be many."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int | Literal['auto'] = 25, estimator: Literal['antithetic', 'permutation'] = 'antithetic', tol: float = 0.05, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NeuronShapleyValues(NeuronAttribution, PerturbationAttribution):
    """Mean of what a feature adds over all orders of joining, from every set of features evaluated once."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False) -> Inputs: ...

class NeuronSobol(NeuronAttribution, PerturbationAttribution):
    """Sobol's total index of each feature: its share, alone and with others, in the objective's variance over random masks."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer], device_ids: list[int] | None = None) -> None: ...
    def attribute(self, inputs: Inputs, neuron_selector: Neuron, baselines: Baselines = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 32, attribute_to_neuron_input: bool = False, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class NoiseTunnel(Attribution):
    """Apply a method to copies of the inputs with normal noise, and sum its attributions up."""

    def __init__(self, attribution_method: Attribution) -> None: ...
    def attribute(self, inputs: Any, nt_type: str = 'smoothgrad', nt_samples: int = 5, nt_samples_batch_size: int | None = None, stdevs: float | Sequence[float] = 1.0, draw_baseline_from_distrib: bool = False, *, seed: int | None = None, **kwargs: Any) -> Any: ...

class Occlusion(FeatureAblation):
    """Mean drop of the objective over the windows that cover a position, each replaced in turn."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, sliding_window_shapes: Any, strides: Any = None, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, perturbations_per_eval: int | None = None, show_progress: bool = False, *, replacement: Any = None, background: Any = None) -> Inputs: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

class Owen(PerturbationAttribution):
    """Shapley values over the orders in which the features of a group follow one another: partition values."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, groups: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, perturbations_per_eval: int | None = None, *, return_convergence_delta: Literal[True], show_progress: bool = False, seed: int | None = None) -> tuple[Inputs, Tensor]: ...
    @overload
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, groups: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, perturbations_per_eval: int | None = None, return_convergence_delta: Literal[False] = False, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class Rise(PerturbationAttribution):
    """Mean of the objective over random masks in which a position is there, the absent ones replaced."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, share: float = 0.5, grid: int = 7, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class Saliency(GradientAttribution):
    """Gradient of the objective, in absolute value unless ``abs=False``."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, target: Target = None, abs: bool = True, additional_forward_args: Any = None, *, internal_batch_size: int | None = None, grad_kwargs: Mapping[str, Any] | None = None, show_progress: bool = False) -> Inputs: ...

class SeedAverage(Attribution):
    """Run a stochastic method with several seeds, and average; the result has standard errors."""

    def __init__(self, attribution_method: Attribution) -> None: ...
    def attribute(self, inputs: Any, n_seeds: int = 5, *, seed: int | None = None, **kwargs: Any) -> Any: ...

class ShapleyInteractions(PerturbationAttribution):
    """What each feature changes by itself (n-Shapley values of order 2); what each pair changes beyond that is in the details."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 1000, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...

class ShapleyValueSampling(PerturbationAttribution):
    """Mean of what a feature adds over random orders of joining; features may be many."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, n_samples: int | Literal['auto'] = 25, perturbations_per_eval: int | None = None, show_progress: bool = False, *, replacement: Any = None, background: Any = None, estimator: Literal['antithetic', 'permutation'] = 'antithetic', tol: float = 0.05, seed: int | None = None) -> Inputs: ...

class ShapleyValues(ShapleyValueSampling):
    """Mean of what a feature adds over all orders of joining, from every set of features evaluated once."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, perturbations_per_eval: int | None = None, show_progress: bool = False, *, replacement: Any = None, background: Any = None) -> Inputs: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

class Sobol(PerturbationAttribution):
    """Sobol's total index of each feature: its share, alone and with others, in the objective's variance over random masks."""

    def __init__(self, forward_func: Callable[..., Any]) -> None: ...
    def attribute(self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None, feature_mask: Tensor | tuple[Tensor, ...] | None = None, replacement: Any = None, background: Any = None, n_samples: int = 32, perturbations_per_eval: int | None = None, show_progress: bool = False, *, seed: int | None = None) -> Inputs: ...
