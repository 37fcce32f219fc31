"""Slices that go together, found by the coupling graph and removed exactly by `simplify`."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecomp.errors import PruneError
from sparsecomp.program import relative_error
from sparsecomp.prune.data import Batch
from sparsecomp.prune.groups import find_groups
from sparsecomp.prune.patterns import Structured
from sparsecomp.prune.run import prune_model, request
from sparsecomp.prune.structured import kept_units
from sparsecomp.prune.weights import find_weights
from sparsecomp.simplification import simplify


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """A stem, a block whose sum ties it to the stem, a depthwise convolution, a concatenation, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = conv(3, 8), conv(8, 12), conv(12, 8)
        self.depthwise, self.side = conv(8, 8, 8), conv(8, 6)
        self.head = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.outer(F.relu(self.inner(x))))
        x = torch.cat((F.relu(self.depthwise(x)), F.relu(self.side(x))), dim=1)
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """A transformer block; keys and values have fewer heads than queries where ``shared`` is below ``heads``."""

    def __init__(self, heads: int = 4, shared: int = 4, width: int = 16) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = (nn.Linear(width, shared * self.size) for _ in range(2))
        self.up, self.down = nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        q, k, v = (
            layer(y).unflatten(-1, (n, self.size)).transpose(1, 2)
            for layer, n in ((self.query, self.heads), (self.key, self.shared), (self.value, self.shared))
        )
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.heads != self.shared)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.between(x))))


class Encoder(nn.Module):
    def __init__(self, shared: int = 4) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(shared=shared) for _ in range(2)))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(1))


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    model = Residual().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
    return model


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


def removed(model: nn.Module, x: Tensor, **wanted: object) -> tuple[nn.Module, nn.Module]:
    """The pruned model, and the smaller one; their outputs are the same."""
    pruned = prune_model(model, request((x,), **wanted)).model
    small = simplify(pruned, (x,))
    with torch.no_grad():
        assert relative_error(small(x), pruned(x)) < 1e-5
    return pruned, small


def test_channels_that_a_residual_ties_together_are_one_group(network: nn.Module) -> None:
    groups = find_groups(network, Batch((IMAGES,)), "channels", find_weights(network))
    found = {group.name: (len(group.units), {name.split(".")[0] for name in group.parameters}) for group in groups}
    assert found == {
        "stem.0": (8, {"stem", "inner", "outer", "depthwise", "side", "head"}),
        "inner.0": (12, {"inner", "outer"}),
        "side.0": (6, {"side", "head"}),
    }


def test_pruned_channels_are_cut_out_of_every_layer(network: nn.Module) -> None:
    _, small = removed(network, IMAGES, sparsity=0.5, pattern="channels", exclude=())
    found = shapes(small)
    assert found["stem.0.weight"] == (4, 3, 3, 3)
    assert found["inner.0.weight"] == (6, 4, 3, 3)
    assert found["outer.0.weight"] == (4, 6, 3, 3)
    assert found["depthwise.0.weight"] == (4, 1, 3, 3)
    assert found["side.0.weight"] == (3, 4, 3, 3)
    assert found["head.weight"] == (5, 7)


def test_excluded_layers_keep_their_channels(network: nn.Module) -> None:
    _, small = removed(network, IMAGES, sparsity=0.5, pattern="channels", exclude=["inner.0"])
    assert shapes(small)["inner.0.weight"][0] == 12


@pytest.mark.parametrize("score", ["magnitude", "random", "wanda", "variance", "apoz", "taylor", "sparsegpt"])
def test_scores_of_slices(network: nn.Module, score: str) -> None:
    _, small = removed(network, IMAGES, sparsity=0.5, pattern="channels", score=score, data=[(IMAGES,)])
    assert shapes(small)["side.0.weight"][0] == 3


def test_a_silent_channel_goes_first(network: nn.Module) -> None:
    with torch.no_grad():
        network.inner[1].bias.fill_(2.0)
        network.inner[1].bias[3] = -100.0
    pruned, _ = removed(network, IMAGES, sparsity=1 / 12, pattern="channels", score="apoz", data=[(IMAGES,)])
    assert not bool(pruned.outer[0].weight[:, 3].any())


@pytest.mark.parametrize("shared", [4, 2])
def test_heads(shared: int) -> None:
    """Where two heads share keys and values, they go together."""
    torch.manual_seed(0)
    _, small = removed(Encoder(shared).eval(), TOKENS, sparsity=0.5, pattern="heads")
    for block in ("blocks.0", "blocks.1"):
        assert shapes(small)[f"{block}.query.weight"] == (8, 16)
        assert shapes(small)[f"{block}.value.weight"] == (4 * shared // 2, 16)
        assert shapes(small)[f"{block}.out.weight"] == (16, 8)


def test_neurons_are_those_of_the_feed_forward_part() -> None:
    torch.manual_seed(0)
    model = Encoder().eval()
    found = prune_model(model, request((TOKENS,), sparsity=0.25, pattern="neurons"))
    assert set(found.report.removed) == {"blocks.0.up", "blocks.1.up"}
    assert shapes(simplify(found.model, (TOKENS,)))["blocks.0.down.weight"] == (16, 18)


def test_whole_branches() -> None:
    torch.manual_seed(0)
    model = Encoder().eval()
    with torch.no_grad():
        model.blocks[0].out.weight *= 0.01
        model.blocks[1].down.weight *= 0.01
    pruned, small = removed(model, TOKENS, sparsity=0.5, pattern="layers")
    assert not bool(pruned.blocks[0].out.weight.any())
    assert not bool(pruned.blocks[1].down.bias.any())
    assert "blocks.0.query.weight" not in shapes(small)
    assert "blocks.1.up.weight" not in shapes(small)
    assert shapes(small)["blocks.1.query.weight"] == (16, 16)


@pytest.mark.parametrize(
    ("count", "density", "multiple", "kept"), [(64, 0.5, 1, 32), (64, 0.3, 8, 24), (10, 0.3, 8, 3), (4, 0.0, 1, 1)]
)
def test_how_many_stay(count: int, density: float, multiple: int, kept: int) -> None:
    assert kept_units(count, density, multiple) == kept


def test_multiples(network: nn.Module) -> None:
    _, small = removed(network, IMAGES, sparsity=0.6, pattern=Structured("channels", multiple=4))
    assert shapes(small)["inner.0.weight"][0] == 8


def test_repair_brings_the_outputs_back() -> None:
    """Hidden units that repeat each other: half of them say it all, once the reader is fitted again."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 6)).eval()
    with torch.no_grad():
        model[0].weight[8:] = model[0].weight[:8] * 0.3
        model[0].bias[8:] = model[0].bias[:8] * 0.3
    data = [(torch.randn(64, 8),) for _ in range(4)]
    wanted = {"sparsity": 0.5, "pattern": "neurons", "data": data, "exclude": ["2"]}
    with torch.no_grad():
        errors = [
            relative_error(
                prune_model(model, request(data[0], repair=r, **wanted)).model(data[0][0]), model(data[0][0])
            )
            for r in (False, True)
        ]
    assert errors[0] > 0.03
    assert errors[1] < 0.1 * errors[0]


def test_no_heads() -> None:
    with pytest.raises(PruneError, match="no heads of this model"):
        prune_model(nn.Sequential(nn.Linear(4, 4)).eval(), request((torch.randn(1, 4),), sparsity=0.5, pattern="heads"))


def test_more_than_can_go() -> None:
    """One of the four heads of each block stays, so 90 % of them cannot go."""
    with pytest.raises(PruneError, match=r"cannot be met: 6 of 8 heads can go, not 90\.0 %"):
        prune_model(Encoder(4).eval(), request(TOKENS, sparsity=0.9, pattern="heads"))
