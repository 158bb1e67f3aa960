"""AttnLRP and CP-LRP once more, as gradient times input of the very model with other gradients (arXiv:2402.05602).

Where ``explicit.bert`` and the others write down relevance, this runs transformers' code and changes what autograd sees:
deviations are detached, activations are their input times a constant, both sides of a product have half of their gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = ("SiLUActivation", "GELUActivation", "NewGELUActivation", "SiLU", "GELU", "Tanh")


class Wide(ModuleType):
    """torch, whose float32 is float64."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


@contextmanager
def wide() -> Iterator[None]:
    """Llama's norms, and eager softmax in Llama and ViT, in the precision of the model and not in float32."""
    from transformers.models.llama import modeling_llama
    from transformers.models.vit import modeling_vit

    with pytest.MonkeyPatch.context() as patch:
        for module in (modeling_llama, modeling_vit):
            patch.setattr(module, "torch", Wide("torch"))
        yield


def half(x: Tensor) -> Tensor:
    """Itself, with half of its gradient."""
    return (x + x.detach()) / 2


def _layer_norm(x: Tensor, shape: tuple[int, ...], weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    deviation = (x.var(-1, correction=0, keepdim=True) + eps).sqrt().detach()
    return (x - x.mean(-1, keepdim=True)) / deviation * weight + bias


def _rms_norm(self: nn.Module, x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon).detach() * self.weight


def _as_factor(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return args[0] * torch.where(args[0] == 0, 0, output / args[0]).detach()


@contextmanager
def _changed(model: nn.Module, *, cp: bool) -> Iterator[None]:
    from transformers.models.llama import modeling_llama

    plain = SimpleNamespace(matmul=torch.matmul, softmax=F.softmax, sdpa=F.scaled_dot_product_attention)

    def sdpa(q, k, v, *args, **kwargs):
        if cp:
            return plain.sdpa(q.detach(), k.detach(), v, *args, **kwargs)
        return half(plain.sdpa(half(q), half(k), v, *args, **kwargs))

    hooks = [m.register_forward_hook(_as_factor) for m in model.modules() if type(m).__name__ in ACTIVATIONS]
    for module in model.modules():
        if hasattr(module, "gate_proj"):
            hooks.append(module.act_fn.register_forward_hook(lambda m, args, out: out.detach() if cp else half(out)))
            hooks.append(module.up_proj.register_forward_hook(lambda m, args, out: out if cp else half(out)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "layer_norm", _layer_norm)
        patch.setattr(modeling_llama.LlamaRMSNorm, "forward", _rms_norm)
        patch.setattr(F, "scaled_dot_product_attention", sdpa)
        patch.setattr(torch, "matmul", lambda a, b: plain.matmul(a, b) if cp else half(plain.matmul(a, b)))
        patch.setattr(F, "softmax", lambda x, dim, dtype=None: plain.softmax(x.detach() if cp else x, dim=dim))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def relevance(model: nn.Module, x: Tensor, index: tuple[int, ...], *, cp: bool = False, **given) -> Tensor:
    """At x, which the model takes by the name that ``given`` calls ``name``, of the logit at an index."""
    name = given.pop("name", "inputs_embeds")
    leaf = x.clone().requires_grad_()
    with torch.enable_grad(), _changed(model, cp=cp):
        logits = model(**{name: leaf}, **given).logits
        gradient = torch.autograd.grad(logits[:, *index].sum(), leaf)[0]
    return gradient * x
