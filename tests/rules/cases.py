"""For every operator that has a rule: random calls of it. Parameters (`nn.Parameter`) are known at compile time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sparsecomp.rules import RULES
from sparsecomp.rules.pointwise import broadcast

aten = torch.ops.aten


@dataclass
class Sample:
    """Arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


Case = Callable[[random.Random], Sample]
CASES: dict[Any, Case] = {}


def case(*overloads: Any) -> Callable[[Case], Case]:
    def enter(make: Case) -> Case:
        for overload in overloads:
            assert overload not in CASES
            CASES[overload] = make
        return make

    return enter


def tensor(rng: random.Random, *shape: int) -> Tensor:
    """Numbers away from the steps and poles of functions."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return torch.randn(shape, generator=generator).mul_(0.8).add_(0.013)


def parameter(rng: random.Random, *shape: int) -> nn.Parameter:
    """As pruners leave them: some rows and columns are zero, some repeat, some elements are zero (of either sign)."""
    data = tensor(rng, *shape)
    data *= torch.rand(shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))) > rng.choice([0.0, 0.5])
    for axis in range(min(len(shape), 2)):
        for _ in range(rng.randrange(3)):
            one, other = rng.randrange(shape[axis]), rng.randrange(shape[axis])
            data.select(axis, one).copy_(data.select(axis, other) * rng.choice([0.0, 0.0, 1.0]))
    return nn.Parameter(data, requires_grad=False)


def either(rng: random.Random, *shape: int) -> Tensor:
    return parameter(rng, *shape) if rng.random() < 0.7 else tensor(rng, *shape)


def dims(rng: random.Random, low: int, high: int, count: int) -> list[int]:
    return [rng.randint(low, high) for _ in range(count)]


def shape_of(rng: random.Random, low: int = 1, high: int = 4) -> list[int]:
    return dims(rng, 1, 5, rng.randint(low, high))


def broadcastable(rng: random.Random, shape: list[int]) -> list[int]:
    kept = shape[rng.randrange(len(shape)) if rng.random() < 0.3 else 0 :]
    return [1 if rng.random() < 0.25 else size for size in kept]


_POSITIVE = {"sqrt", "rsqrt", "log", "log1p", "log2", "pow", "reciprocal", "div", "true_divide", "floor_divide"}
_POSITIVE |= {"remainder", "fmod", "addcdiv"}
_BOOLEAN = {"bitwise_and", "bitwise_or", "bitwise_not", "logical_and", "logical_or", "logical_xor", "logical_not"}
_SCALARS = {
    "other": 0.7,
    "exponent": 2.5,
    "value": 0.3,
    "weight": 0.4,
    "lambd": 0.5,
    "threshold": 0.2,
    "fill_value": 1.5,
}


def pointwise(overload: Any) -> Case:
    """Arguments made from the schema: tensors of broadcastable shapes, usual scalars."""
    name = overload._schema.name.split("::")[1]

    def make(rng: random.Random) -> Sample:
        shape = shape_of(rng)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for argument in overload._schema.arguments:
            kind = str(argument.type)
            if kind == "Tensor" or overload is aten.clamp.Tensor:
                first = not args
                other = [] if overload is aten.masked_fill.Tensor and len(args) == 2 else broadcastable(rng, shape)
                data = tensor(rng, *(shape if first else other))
                data = data.abs() + 0.5 if name in _POSITIVE else data > 0 if name in _BOOLEAN else data
                if argument.name in ("mask", "condition"):
                    data = data > 0
                args.append(nn.Parameter(data, requires_grad=False) if not first and rng.random() < 0.5 else data)
            elif argument.name == "rounding_mode":
                kwargs["rounding_mode"] = rng.choice([None, "floor", "trunc"])
            elif argument.name == "dtype" and name in ("to", "_to_copy"):
                kwargs["dtype"] = torch.float64
            elif argument.name == "approximate":
                kwargs["approximate"] = rng.choice(["none", "tanh"])
            elif name == "clamp" and argument.name in ("min", "max"):
                args.append({"min": -0.3, "max": 0.5}[argument.name])
            elif not argument.has_default_value():
                args.append(_SCALARS.get(argument.name, 0.6 if name.startswith(("clamp", "where", "pow")) else 0.7))
        return Sample(tuple(args), kwargs)

    return make


def _linear(rng: random.Random) -> Sample:
    k, n = dims(rng, 1, 7, 2)
    make = parameter if rng.random() < 0.8 else tensor
    bias = rng.choice([None, parameter(rng, n)])
    return Sample((tensor(rng, *dims(rng, 1, 4, rng.randint(0, 3)), k), make(rng, n, k), bias))


CASES[aten.linear.default] = _linear


@case(aten.addmm.default)
def _addmm(rng: random.Random) -> Sample:
    m, k, n = dims(rng, 1, 6, 3)
    bias = rng.choice([parameter(rng, n), tensor(rng, n), tensor(rng, m, n), parameter(rng, m, n)])
    scaled = rng.random() < 0.2
    return Sample((bias, tensor(rng, m, k), either(rng, k, n)), {"alpha": 0.5, "beta": 2.0} if scaled else {})


@case(aten.mm.default)
def _mm(rng: random.Random) -> Sample:
    m, k, n = dims(rng, 1, 6, 3)
    return Sample(
        (either(rng, m, k), tensor(rng, k, n)) if rng.random() < 0.5 else (tensor(rng, m, k), either(rng, k, n))
    )


@case(aten.matmul.default)
def _matmul(rng: random.Random) -> Sample:
    m, k, n = dims(rng, 1, 6, 3)
    lead = dims(rng, 1, 3, rng.randint(0, 2))
    other = lead if rng.random() < 0.5 else []
    left = (k,) if rng.random() < 0.2 else (*lead, m, k)
    right = (k,) if rng.random() < 0.2 else (*other, k, n)
    return Sample(
        (either(rng, *left), tensor(rng, *right)) if rng.random() < 0.5 else (tensor(rng, *left), either(rng, *right))
    )


@case(aten.mv.default)
def _mv(rng: random.Random) -> Sample:
    m, k = dims(rng, 1, 6, 2)
    return Sample((either(rng, m, k), tensor(rng, k)))


@case(aten.dot.default)
def _dot(rng: random.Random) -> Sample:
    k = rng.randint(1, 7)
    return Sample((tensor(rng, k), either(rng, k)))


@case(aten.outer.default)
def _outer(rng: random.Random) -> Sample:
    m, n = dims(rng, 1, 6, 2)
    return Sample((tensor(rng, m), either(rng, n)))


@case(aten.bmm.default)
def _bmm(rng: random.Random) -> Sample:
    b, m, k, n = dims(rng, 1, 5, 4)
    return Sample((tensor(rng, b, m, k), either(rng, b, k, n)))


@case(aten.baddbmm.default)
def _baddbmm(rng: random.Random) -> Sample:
    b, m, k, n = dims(rng, 1, 5, 4)
    return Sample((rng.choice([parameter(rng, n), tensor(rng, b, m, n)]), tensor(rng, b, m, k), either(rng, b, k, n)))


@case(aten.einsum.default)
def _einsum(rng: random.Random) -> Sample:
    size = dict(zip("abcde", dims(rng, 1, 5, 5), strict=True))
    equation = rng.choice(
        ["abc,acd->abd", "ab,cb->ac", "abc,dc->abd", "ab,ab->a", "...ab,cb->...ac", "ab,bc", "abcd,de->abce"]
    )
    left = equation.replace("...", "e").split("->")[0].split(",")
    operands = [tensor(rng, *(size[c] for c in text)) for text in left]
    return Sample((equation, operands))


def _conv(spatial: int, padding_names: bool = False) -> Case:
    def make(rng: random.Random) -> Sample:
        groups = rng.choice([1, 1, 2, 3])
        c, n = dims(rng, 1, 3 if groups > 1 else 5, 2)
        c = 1 if groups > 1 and rng.random() < 0.5 else c
        kernel = dims(rng, 1, 3, spatial)
        image = tensor(rng, rng.randint(1, 2), groups * c, *dims(rng, 5, 6, spatial))
        if rng.random() < 0.1:
            image = image[0]
        weight = (parameter if rng.random() < 0.85 else tensor)(rng, groups * n, c, *kernel)
        bias = rng.choice([None, parameter(rng, groups * n)])
        stride, dilation = dims(rng, 1, 2, spatial), dims(rng, 1, 2, spatial)
        padding: Any = rng.choice([[0] * spatial, [1] * spatial])
        if padding_names:
            padding = rng.choice(["same", "valid"])
            stride = [1] * spatial
        return Sample((image, weight, bias, stride, padding, dilation, groups))

    return make


for _d, (_plain, _named) in enumerate(
    [(aten.conv1d, aten.conv1d), (aten.conv2d, aten.conv2d), (aten.conv3d, aten.conv3d)], start=1
):
    CASES[_plain.default] = _conv(_d)
    CASES[_named.padding] = _conv(_d, padding_names=True)


def _conv_transpose(spatial: int) -> Case:
    def make(rng: random.Random) -> Sample:
        groups = rng.choice([1, 1, 2])
        c, n = dims(rng, 1, 4, 2)
        image = tensor(rng, rng.randint(1, 2), groups * c, *dims(rng, 3, 4, spatial))
        weight = parameter(rng, groups * c, n, *dims(rng, 1, 3, spatial))
        bias = rng.choice([None, parameter(rng, groups * n)])
        return Sample(
            (image, weight, bias, [2] * spatial, [rng.randint(0, 1)] * spatial, [1] * spatial, groups, [1] * spatial)
        )

    return make


CASES[aten.conv_transpose1d.default] = _conv_transpose(1)
CASES[aten.conv_transpose3d.input] = _conv_transpose(3)
CASES[aten.conv_transpose2d.input] = _conv_transpose(2)


@case(aten.convolution.default)
def _convolution(rng: random.Random) -> Sample:
    if rng.random() < 0.5:
        image, weight, bias, stride, padding, dilation, groups = _conv(2)(rng).args
        image = image if image.dim() == 4 else image[None]
        return Sample((image, weight, bias, stride, padding, dilation, False, [0, 0], groups))
    image, weight, bias, stride, padding, extra, groups, dilation = _conv_transpose(2)(rng).args
    return Sample((image, weight, bias, stride, padding, dilation, True, extra, groups))


@case(aten.scaled_dot_product_attention.default)
def _attention(rng: random.Random) -> Sample:
    b, h, r, q, s, e, d = dims(rng, 1, 4, 7)
    grouped = rng.random() < 0.4
    heads = h * r if grouped else h
    lead = [b] if rng.random() < 0.8 else []
    shapes = [[*lead, heads, q, e], [*lead, h, s, e], [*lead, h, s, d]]
    mask = rng.choice([None, None, tensor(rng, q, s), tensor(rng, b, 1, q, s) if lead else None])
    options = {"enable_gqa": grouped} | ({"scale": 0.3} if rng.random() < 0.3 else {})
    if mask is None and rng.random() < 0.3:
        options["is_causal"] = True
    return Sample((*(tensor(rng, *shape) for shape in shapes), mask), options)


@case(aten.batch_norm.default)
def _batch_norm(rng: random.Random) -> Sample:
    c = rng.randint(1, 6)
    weight, bias = (parameter(rng, c), parameter(rng, c)) if rng.random() < 0.9 else (None, None)
    variance = nn.Parameter(parameter(rng, c).abs() + 0.1, requires_grad=False)
    image = tensor(rng, rng.randint(1, 3), c, *dims(rng, 1, 4, rng.randint(0, 3)))
    return Sample((image, weight, bias, parameter(rng, c), variance, False, 0.1, 1e-5, True))


@case(aten.instance_norm.default)
def _instance_norm(rng: random.Random) -> Sample:
    c = rng.randint(1, 6)
    weight, bias = (parameter(rng, c), parameter(rng, c)) if rng.random() < 0.7 else (None, None)
    return Sample((tensor(rng, 2, c, 3, 4), weight, bias, None, None, True, 0.1, 1e-5, True))


@case(aten.group_norm.default)
def _group_norm(rng: random.Random) -> Sample:
    g, d = dims(rng, 1, 4, 2)
    weight, bias = (parameter(rng, g * d), parameter(rng, g * d)) if rng.random() < 0.8 else (None, None)
    return Sample((tensor(rng, 2, g * d, *dims(rng, 2, 4, rng.randint(1, 2))), g, weight, bias))


@case(aten.layer_norm.default)
def _layer_norm(rng: random.Random) -> Sample:
    shape = dims(rng, 1, 5, rng.randint(1, 4))
    shape[-1] = rng.randint(2, 6)
    count = rng.randint(1, min(2, len(shape)))
    weight, bias = (
        (parameter(rng, *shape[-count:]), parameter(rng, *shape[-count:])) if rng.random() < 0.8 else (None, None)
    )
    return Sample((tensor(rng, *shape), shape[-count:], weight, bias))


@case(aten.rms_norm.default)
def _rms_norm(rng: random.Random) -> Sample:
    args = _layer_norm(rng).args
    return Sample((*args[:3], 1e-5))


@case(aten.view.default, aten._unsafe_view.default, aten.reshape.default)
def _view(rng: random.Random) -> Sample:
    factors = dims(rng, 1, 4, rng.randint(1, 5))
    return Sample((tensor(rng, *_grouped(rng, factors)), _with_unknown(rng, _grouped(rng, factors))))


def _grouped(rng: random.Random, factors: list[int]) -> list[int]:
    shape: list[int] = []
    for factor in factors:
        if shape and rng.random() < 0.5:
            shape[-1] *= factor
        else:
            shape.append(factor)
    return shape


def _with_unknown(rng: random.Random, shape: list[int]) -> list[int]:
    shape = list(shape)
    if rng.random() < 0.3:
        shape[rng.randrange(len(shape))] = -1
    return shape


@case(aten.unflatten.int)
def _unflatten(rng: random.Random) -> Sample:
    factors = dims(rng, 1, 4, 2)
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    shape[axis] = factors[0] * factors[1]
    return Sample((tensor(rng, *shape), rng.choice([axis, axis - len(shape)]), _with_unknown(rng, factors)))


@case(aten.flatten.using_ints)
def _flatten(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    start = rng.randrange(len(shape))
    return Sample((tensor(rng, *shape), start, rng.randrange(start, len(shape))))


@case(aten.permute.default)
def _permute(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    order = list(range(len(shape)))
    rng.shuffle(order)
    return Sample((tensor(rng, *shape), order))


@case(aten.transpose.int)
def _transpose(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), rng.randrange(len(shape)), rng.randrange(-len(shape), len(shape))))


@case(aten.t.default)
def _t(rng: random.Random) -> Sample:
    return Sample((tensor(rng, *shape_of(rng, 1, 2)),))


@case(aten.mT.default)
def _matrix_transpose(rng: random.Random) -> Sample:
    return Sample((tensor(rng, *shape_of(rng, 2, 4)),))


@case(aten.movedim.int)
def _movedim(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), rng.randrange(len(shape)), rng.randrange(len(shape))))


@case(aten.movedim.intlist)
def _movedim_list(rng: random.Random) -> Sample:
    shape = shape_of(rng, 2)
    places = list(range(len(shape)))
    return Sample((tensor(rng, *shape), rng.sample(places, 2), rng.sample(places, 2)))


@case(aten.unsqueeze.default)
def _unsqueeze(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), rng.randrange(-len(shape) - 1, len(shape) + 1)))


def _with_unit_axes(rng: random.Random) -> tuple[list[int], int]:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    shape[axis] = rng.choice([1, shape[axis]])
    return shape, axis


@case(aten.squeeze.default)
def _squeeze(rng: random.Random) -> Sample:
    return Sample((tensor(rng, *_with_unit_axes(rng)[0]),))


@case(aten.squeeze.dim)
def _squeeze_dim(rng: random.Random) -> Sample:
    shape, axis = _with_unit_axes(rng)
    return Sample((tensor(rng, *shape), axis))


@case(aten.squeeze.dims)
def _squeeze_dims(rng: random.Random) -> Sample:
    shape, axis = _with_unit_axes(rng)
    return Sample((tensor(rng, *shape), [axis - len(shape)]))


@case(aten.expand.default)
def _expand(rng: random.Random) -> Sample:
    shape = [1 if rng.random() < 0.4 else size for size in shape_of(rng)]
    target = [rng.randint(1, 4) if size == 1 else rng.choice([size, size, -1]) for size in shape]
    return Sample((tensor(rng, *shape), dims(rng, 1, 3, rng.randint(0, 1)) + target))


CASES[aten.broadcast_to.default] = lambda rng: Sample((tensor(rng, 1, 3, 1), [rng.randint(1, 4), 3, rng.randint(1, 3)]))


@case(aten.repeat.default)
def _repeat(rng: random.Random) -> Sample:
    shape = shape_of(rng, 1, 3)
    return Sample((tensor(rng, *shape), dims(rng, 1, 3, len(shape) + rng.randint(0, 1))))


@case(aten.repeat_interleave.self_int)
def _repeat_interleave(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), rng.randint(1, 3), rng.randrange(len(shape))))


@case(aten.clone.default, aten.contiguous.default, aten.detach.default, aten.alias.default)
def _copy(rng: random.Random) -> Sample:
    return Sample((tensor(rng, *shape_of(rng)),))


@case(aten.cat.default, aten.concat.default, aten.concatenate.default)
def _cat(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    pieces = []
    for _ in range(rng.randint(1, 3)):
        shape[axis] = rng.randint(1, 4)
        pieces.append(either(rng, *shape))
    return Sample((pieces, axis - rng.choice([0, len(shape)])))


@case(aten.stack.default)
def _stack(rng: random.Random) -> Sample:
    shape = shape_of(rng, 1, 3)
    return Sample(([either(rng, *shape) for _ in range(rng.randint(1, 3))], rng.randrange(len(shape) + 1)))


@case(aten.split.Tensor)
def _split(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    return Sample((tensor(rng, *shape), rng.randint(1, shape[axis]), axis))


@case(aten.split_with_sizes.default, aten.split.sizes)
def _split_with_sizes(rng: random.Random) -> Sample:
    shape, sizes = shape_of(rng), dims(rng, 1, 4, rng.randint(1, 3))
    axis = rng.randrange(len(shape))
    shape[axis] = sum(sizes)
    return Sample((tensor(rng, *shape), sizes, axis))


@case(aten.chunk.default, aten.tensor_split.sections)
def _chunk(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    shape[axis] = rng.randint(2, 7)
    return Sample((tensor(rng, *shape), rng.randint(1, 3), axis))


@case(aten.unbind.int)
def _unbind(rng: random.Random) -> Sample:
    shape = shape_of(rng, 2)
    return Sample((tensor(rng, *shape), rng.randrange(len(shape))))


@case(aten.slice.Tensor)
def _slice(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    shape[axis] = rng.randint(2, 8)
    start = rng.choice([None, 0, rng.randrange(shape[axis]), -1])
    end = rng.choice([None, 2**63 - 1, shape[axis]])
    return Sample((tensor(rng, *shape), axis, start, end, rng.randint(1, 3)))


@case(aten.narrow.default)
def _narrow(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    start = rng.randrange(shape[axis])
    return Sample((tensor(rng, *shape), axis, start, rng.randint(1, shape[axis] - start)))


@case(aten.flip.default)
def _flip(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), rng.sample(range(len(shape)), rng.randint(1, min(2, len(shape))))))


@case(aten.roll.default)
def _roll(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), [rng.randint(-3, 3)], [rng.randrange(len(shape))]))


@case(aten.index_select.default)
def _index_select(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    index = torch.tensor([rng.randrange(shape[axis]) for _ in range(rng.randint(1, 6))])
    known = nn.Parameter(index, requires_grad=False) if rng.random() < 0.8 else index
    return Sample((tensor(rng, *shape), axis, known))


@case(aten.select.int)
def _select(rng: random.Random) -> Sample:
    shape = shape_of(rng, 2)
    axis = rng.randrange(len(shape))
    return Sample((tensor(rng, *shape), axis, rng.randrange(-shape[axis], shape[axis])))


def _padding(rng: random.Random, shape: list[int]) -> list[int]:
    return dims(rng, 0, 2, 2 * rng.randint(1, len(shape)))


@case(aten.constant_pad_nd.default)
def _constant_pad(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), _padding(rng, shape), rng.choice([0, 0.5])))


@case(aten.pad.default)
def _pad(rng: random.Random) -> Sample:
    if rng.random() < 0.3:
        return Sample((tensor(rng, 2, 3, 4, 5), dims(rng, 0, 2, 4), rng.choice(["reflect", "replicate"])))
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), _padding(rng, shape), "constant", rng.choice([None, 0.0, 0.5])))


def _image(rng: random.Random, spatial: int, low: int = 4) -> Tensor:
    return tensor(rng, rng.randint(1, 2), rng.randint(1, 5), *dims(rng, low, low + 2, spatial))


def _pool(spatial: int, average: bool) -> Case:
    def make(rng: random.Random) -> Sample:
        kernel, stride, padding = (
            [rng.randint(2, 3)] * spatial,
            [rng.randint(1, 2)] * spatial,
            [rng.randint(0, 1)] * spatial,
        )
        ceil = rng.random() < 0.5
        image = _image(rng, spatial)
        if average:
            return Sample((image, kernel, stride, padding, ceil, rng.random() < 0.5))
        return Sample((image, kernel, stride, padding, [1] * spatial, ceil))

    return make


for _d, (_max, _average) in enumerate(
    [(aten.max_pool1d, aten.avg_pool1d), (aten.max_pool2d, aten.avg_pool2d), (aten.max_pool3d, aten.avg_pool3d)],
    start=1,
):
    CASES[_max.default] = _pool(_d, average=False)
    CASES[_average.default] = _pool(_d, average=True)
CASES[aten.max_pool2d_with_indices.default] = _pool(2, average=False)


def _adaptive(spatial: int) -> Case:
    return lambda rng: Sample((_image(rng, spatial), dims(rng, 1, 3, spatial)))


for _d, _ops in ((1, ("avg", "max")), (2, ("avg", "max")), (3, ("avg",))):
    for _op in _ops:
        CASES[getattr(aten, f"adaptive_{_op}_pool{_d}d").default] = _adaptive(_d)

CASES[aten.upsample_nearest1d.default] = lambda rng: Sample((_image(rng, 1), [7]))
CASES[aten.upsample_nearest1d.vec] = lambda rng: Sample((_image(rng, 1), None, [2.0]))
CASES[aten.upsample_linear1d.default] = lambda rng: Sample((_image(rng, 1), [7], rng.random() < 0.5))
CASES[aten.upsample_nearest2d.default] = lambda rng: Sample((_image(rng, 2), [7, 8]))
CASES[aten.upsample_nearest2d.vec] = lambda rng: Sample((_image(rng, 2), None, [2.0, 3.0]))
for _op2 in (aten.upsample_bilinear2d, aten.upsample_bicubic2d):
    CASES[_op2.default] = lambda rng: Sample((_image(rng, 2), [7, 8], rng.random() < 0.5))
    CASES[_op2.vec] = lambda rng: Sample((_image(rng, 2), None, rng.random() < 0.5, [2.0, 2.0]))
CASES[aten.pixel_shuffle.default] = lambda rng: Sample((tensor(rng, 2, 4 * rng.randint(1, 4), 2, 3), 2))
CASES[aten.pixel_unshuffle.default] = lambda rng: Sample((tensor(rng, 2, rng.randint(1, 4), 4, 6), 2))
CASES[aten.im2col.default] = lambda rng: Sample((_image(rng, 2), [2, 3], [1, 1], [rng.randint(0, 1)] * 2, [1, 2]))
CASES[aten.channel_shuffle.default] = lambda rng: Sample((tensor(rng, 2, 3 * rng.randint(1, 3), 2, 3), 3))


def _reduced(rng: random.Random) -> tuple[Tensor, int]:
    shape = shape_of(rng)
    return tensor(rng, *shape), rng.randrange(-len(shape), len(shape))


@case(aten.mean.dim, aten.amax.default, aten.amin.default, aten.sum.dim_IntList, aten.logsumexp.default)
def _reduce_list(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    return Sample((tensor(rng, *shape), rng.sample(range(len(shape)), rng.randint(1, len(shape))), rng.random() < 0.5))


@case(aten.mean.default, aten.sum.default)
def _reduce_all(rng: random.Random) -> Sample:
    return Sample((tensor(rng, *shape_of(rng)),))


@case(aten.max.dim, aten.min.dim, aten.prod.dim_int, aten.median.dim, aten.argmax.default, aten.argmin.default)
def _reduce_one(rng: random.Random) -> Sample:
    return Sample((*_reduced(rng), rng.random() < 0.5))


@case(aten.any.dim, aten.all.dim)
def _reduce_flags(rng: random.Random) -> Sample:
    data, axis = _reduced(rng)
    return Sample((data > 0, axis, rng.random() < 0.5))


@case(aten.var.correction, aten.std.correction)
def _variance(rng: random.Random) -> Sample:
    data, axis = _reduced(rng)
    return Sample((data, [axis]), {"correction": 0, "keepdim": rng.random() < 0.5})


@case(aten.linalg_vector_norm.default)
def _vector_norm(rng: random.Random) -> Sample:
    data, axis = _reduced(rng)
    return Sample((data, 2, [axis], rng.random() < 0.5))


@case(aten.softmax.int, aten.log_softmax.int, aten.cumsum.default, aten.sort.default, aten.argsort.default)
def _along(rng: random.Random) -> Sample:
    return Sample(_reduced(rng))


CASES[aten._softmax.default] = lambda rng: Sample((*_reduced(rng), False))
CASES[aten.topk.default] = lambda rng: Sample((tensor(rng, 3, 5, 4), rng.randint(1, 3), rng.randrange(3)))
CASES[aten.sym_size.int] = lambda rng: Sample(_reduced(rng))
CASES[aten.embedding.default] = lambda rng: Sample(
    (parameter(rng, 7, rng.randint(1, 6)), torch.tensor([[rng.randrange(7) for _ in range(4)]] * rng.randint(1, 3)))
)
CASES[aten.full.default] = lambda rng: Sample((shape_of(rng), 0.5))
CASES[aten.new_full.default] = lambda rng: Sample((tensor(rng, 2, 3), shape_of(rng), 0.5))
CASES[aten.zeros.default] = CASES[aten.ones.default] = lambda rng: Sample((shape_of(rng),))
CASES[aten.new_zeros.default] = CASES[aten.new_ones.default] = lambda rng: Sample((tensor(rng, 2, 3), shape_of(rng)))


@case(aten.prelu.default)
def _prelu(rng: random.Random) -> Sample:
    c = rng.randint(1, 6)
    return Sample((tensor(rng, 2, c, 3), parameter(rng, rng.choice([1, c]))))


@case(aten.glu.default)
def _glu(rng: random.Random) -> Sample:
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    shape[axis] = 2 * rng.randint(1, 4)
    return Sample((tensor(rng, *shape), axis))


for _overload, _rule in RULES.items():
    if _rule.relate is broadcast:
        CASES[_overload] = pointwise(_overload)
