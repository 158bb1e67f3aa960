import pytest
import torch
from torch import nn
from torch.nn import functional

import attrkit
from attrkit.errors import UngovernedError


class SelectiveScan(nn.Module):
    """The scan as a module of its own, as fused kernels have it."""

    def __init__(self, channels, states):
        super().__init__()
        self.A_log = nn.Parameter(torch.log(torch.arange(1, states + 1).float()).repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))

    def forward(self, x, dt, B, C):  # noqa: N803 - as the paper calls them
        kept = torch.exp(-dt[..., None] * torch.exp(self.A_log))
        taken = dt[..., None] * B[:, :, None]
        state, found = torch.zeros_like(kept[:, 0]), []
        for t in range(x.shape[1]):
            state = kept[:, t] * state + taken[:, t] * x[:, t, :, None]
            found.append((state @ C[:, t, :, None])[..., 0])
        return torch.stack(found, 1) + x * self.D


class Mixer(nn.Module):
    """A Mamba block; ``detached`` rewrites it as in the paper, so that gradient times input is MambaLRP."""

    def __init__(self, width, channels, states, *, whole):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, 3, padding=2, groups=channels, bias=False)
        self.add_module("select" if whole else "x_proj", nn.Linear(channels, 2 + 2 * states, bias=False))
        self.dt = nn.Linear(2, channels)
        self.scan = SelectiveScan(channels, states)
        self.out_proj = nn.Linear(channels, width, bias=False)
        self.states, self.whole, self.detached = states, whole, False

    def forward(self, u):
        constant = torch.detach if self.detached else nn.Identity()
        x, gate = self.in_proj(self.normed(u)).chunk(2, -1)
        x = self.silu(self.conv(x.mT)[..., : u.shape[1]].mT)
        dt, B, C = (self.select if self.whole else self.x_proj)(x).split([2, self.states, self.states], -1)
        dt = functional.softplus(self.dt(dt))
        scan = self.scan if self.whole else self.scan.forward  # not the module: its operations are seen one by one
        y = scan(x, constant(dt), constant(B), constant(C)) * self.silu(gate)
        return u + self.out_proj((y + y.detach()) / 2 if self.detached else y)

    def normed(self, u):
        if not self.detached:
            return self.norm(u)
        scale = torch.rsqrt(u.square().mean(-1, keepdim=True) + torch.finfo(u.dtype).eps)
        return u * scale.detach() * self.norm.weight

    def silu(self, x):
        return x * torch.sigmoid(x).detach() if self.detached else functional.silu(x)


def net(*, whole, blocks=2):
    torch.manual_seed(0)
    model = nn.Sequential(*[Mixer(6, 8, 4, whole=whole) for _ in range(blocks)], nn.Flatten(), nn.Linear(30, 3, bias=False))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d):
                layer.weight *= 3  # so that blocks matter as much as what goes around them
    return model.double().eval()


def rewritten(model, x, target):
    """Gradient times input of the model with the paper's parts of it detached."""
    mixers = [m for m in model if isinstance(m, Mixer)]
    x = x.clone().requires_grad_()
    for mixer in mixers:
        mixer.detached = True
    (gradient,) = torch.autograd.grad(model(x)[:, target].sum(), x)
    for mixer in mixers:
        mixer.detached = False
    return (x * gradient).detach()


@pytest.mark.parametrize("whole", [True, False], ids=["scan is a module", "x_proj"])
def test_is_the_rewritten_model(whole):
    model, x = net(whole=whole), torch.randn(3, 5, 6).double()
    found = attrkit.explain(model, x, "lrp", target=1, rules="mamba")
    torch.testing.assert_close(found.values["input"], rewritten(model, x, 1), atol=1e-13, rtol=1e-10)


@pytest.mark.parametrize("whole", [True, False], ids=["scan is a module", "x_proj"])
def test_relevance_is_conserved(whole):
    """At the input and after each block it sums to the output: no layer here has a bias that relevance goes to."""
    model, x = net(whole=whole), torch.randn(3, 5, 6).double()
    at_input = attrkit.explain(model, x, "lrp", target=2, rules="mamba")
    torch.testing.assert_close(at_input.delta, torch.zeros(3).double(), atol=1e-13, rtol=0)
    between = attrkit.explain(model, x, "lrp", target=2, rules="mamba", layers=["0", "1"])
    torch.testing.assert_close(between.delta, torch.zeros(2, 3).double(), atol=1e-13, rtol=0)


def test_what_ships_does_not_cover_it():
    """What this ruleset extends refuses the model; the default shares each product of the scan with the parameters in it."""
    model, x = net(whole=False), torch.randn(3, 5, 6).double()
    with pytest.raises(UngovernedError, match="exp in 0"):
        attrkit.explain(model, x, "lrp", target=2, rules="attnlrp")
    found = attrkit.explain(model, x, "lrp", target=2, rules="default").values["input"]
    oracle = rewritten(model, x, 2)
    assert (found - oracle).abs().max() > 0.01 * oracle.abs().max()


def test_the_rule_is_the_scans_hidden_attention():
    """Of y_t = sum over s of a_ts x_s, each x_s gets a_ts x_s; a_ts is C_t times the decay from s to t times dt_s B_s."""
    torch.manual_seed(0)
    length, channels, states = 4, 3, 2
    scan = SelectiveScan(channels, states).double()
    x, dt = torch.randn(1, length, channels).double(), torch.rand(1, length, channels).double()
    B, C = torch.randn(2, 1, length, states).double()
    with pytest.warns(UserWarning, match="does not depend on"):
        found = attrkit.explain(scan, (x, dt, B, C), "lrp", target=(3, 1), rules="mamba").values
    expected = torch.zeros_like(x)
    for s in range(length):
        decay = torch.exp(-dt[0, s + 1 :, 1].sum() * torch.exp(scan.A_log[1]))
        expected[0, s, 1] = (C[0, 3] * decay * dt[0, s, 1] * B[0, s]).sum() * x[0, s, 1]
    expected[0, 3, 1] += x[0, 3, 1]  # by D
    torch.testing.assert_close(found["x"], expected.detach())
    assert not any(found[name].any() for name in ("dt", "B", "C"))


def test_an_unmodified_model_of_transformers():
    """Its scan is written out, and its projection is called x_proj."""
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(
        vocab_size=50, hidden_size=16, state_size=4, num_hidden_layers=2, use_conv_bias=False, initializer_range=0.5
    )
    torch.manual_seed(0)
    model = transformers.MambaForCausalLM(config).eval()
    embedded = model.get_input_embeddings()(torch.randint(50, (2, 6))).detach()
    found = attrkit.explain(model, {"inputs_embeds": embedded}, "lrp", target=(-1, 7), rules="mamba")
    torch.testing.assert_close(found.delta, torch.zeros(2), atol=1e-5 * float(found.output.abs().max()), rtol=0)
