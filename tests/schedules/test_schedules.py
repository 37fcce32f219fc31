"""Every rule computes what PyTorch computes, on odd, symbolic and one-sized shapes, and takes what it should."""

import re

import pytest
import torch
from torch.export import Dim
from torch.nn import functional as F

from sparsecomp.schedules import RULES, SCHEDULED, schedule_module
from tests.schedules.reference import HOST, WIDE, error, functions, rules, run, scheduled, unscheduled

BATCH, LENGTH = {0: Dim("batch")}, {0: Dim("batch"), 1: Dim("length")}
r = torch.randn

CASES = {
    "relu": (lambda x: x.relu(), (r(8),), None, {"elementwise"}),
    "chain": (lambda x: F.silu(x + 1) * 2, (r(3, 1001),), [BATCH], {"elementwise"}),
    "gelu": (lambda x: F.gelu(x), (r(2, 5, 33),), [LENGTH], {"elementwise"}),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (r(3, 100),), None, {"elementwise"}),
    "broadcast": (lambda x, y: x + y, (r(2, 12, 19, 19), r(2, 1, 1, 19)), None, {"elementwise"}),
    "one_sized": (lambda x: x.relu() + 1, (r(1, 7, 1, 1),), None, {"elementwise"}),
    "where": (lambda x: torch.where(x > 0, x * 2, x.exp()), (r(2, 70),), None, {"elementwise"}),
    "permute": (lambda x: x.permute(0, 2, 1) * 2, (r(2, 37, 48),), [LENGTH], {"elementwise"}),
    "permute_last": (lambda x: x.permute(0, 2, 3, 1) + 1, (r(2, 32, 7, 9),), [BATCH], {"elementwise"}),
    "permute_prime": (lambda x: x.permute(0, 2, 1) * 2, (r(1, 48, 37),), None, {"elementwise"}),
    "concat": (lambda x, y: torch.cat([x, y], 1) + 1, (r(2, 3, 7), r(2, 5, 7)), None, {"elementwise"}),
    "concat_last": (lambda x, y: torch.cat([x, y], -1) + 1, (r(3, 37), r(3, 41)), None, {"elementwise"}),
    "split": (lambda x: [t + 1 for t in x.split(4, 1)], (r(2, 8, 7),), None, {"elementwise"}),
    "pad": (lambda x: F.pad(x, (1, 2, 3, 1)) + 1, (r(2, 3, 37, 38),), None, {"elementwise"}),
    "roll": (lambda x: torch.roll(x, (1, 2), (1, 2)), (r(2, 16, 9),), None, {"elementwise"}),
    "lower": (lambda x: x.tril(), (r(33, 33),), None, {"elementwise"}),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), (r(2, 8, 9, 9),), None, {"elementwise"}),
    "bilinear": (lambda x: F.interpolate(x, size=(33, 31), mode="bilinear"), (r(1, 4, 9, 9),), None, {"elementwise"}),
    "softmax": (lambda x: torch.softmax(x, -1), (r(2, 5, 33),), [LENGTH], {"rows"}),
    "softmax_inner": (lambda x: torch.softmax(x, 1), (r(2, 5, 33, 7),), None, {"rows"}),
    "log_softmax": (lambda x: torch.log_softmax(x, -1), (r(2, 70),), None, {"rows"}),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, (33,), w, b),
        (r(2, 5, 33), r(33), r(33)),
        [LENGTH, None, None],
        {"rows"},
    ),
    "group_norm": (lambda x, w, b: F.group_norm(x, 4, w, b), (r(2, 32, 7, 7), r(32), r(32)), None, {"stages"}),
    "mean_middle": (lambda x: x.mean(1), (r(2, 197, 33),), [BATCH], {"rows"}),
    "mean_planes": (lambda x: x.mean((2, 3)), (r(2, 64, 7, 7),), [BATCH], {"rows"}),
    "sum_first": (lambda x: x.sum(0), (r(5, 64, 7),), None, {"rows"}),
    "arg_max": (lambda x: x.argmax(-1), (r(2, 64, 100),), None, {"rows"}),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2, 1), (r(2, 8, 37, 37),), None, {"rows"}),
    "average_pool": (lambda x: F.avg_pool2d(x, 2), (r(2, 8, 36, 36),), None, {"rows"}),
    "global_pool": (lambda x: F.adaptive_avg_pool2d(x, 1), (r(2, 8, 36, 36),), None, {"rows"}),
    "adaptive_pool": (lambda x: F.adaptive_avg_pool2d(x, 7), (r(2, 8, 36, 36),), None, {"fallback"}),
    "depthwise": (
        lambda x: F.conv2d(x, torch.ones(16, 1, 3, 3), None, 2, 1, groups=16),
        (r(2, 16, 19, 19),),
        None,
        {"rows"},
    ),
    "matmul": (lambda x, y: x @ y, (r(2, 3, 17, 19), r(2, 3, 19, 23)), None, {"matmul"}),
    "matmul_scaled": (lambda x, y: (x @ y) * 0.5 + 1, (r(2, 7, 64), r(2, 64, 64)), None, {"matmul"}),
    "matmul_symbolic": (lambda x, y: x @ y, (r(3, 17, 16), r(3, 16, 23)), [BATCH, BATCH], {"matmul"}),
    "embedding": (
        lambda x, i: F.embedding(i, x) + 1,
        (r(100, 64), torch.randint(0, 100, (2, 7))),
        None,
        {"elementwise"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_computes_what_torch_computes(name):
    function, args, dynamic, _ = CASES[name]
    expected = function(*args)
    expected = list(expected) if isinstance(expected, (list, tuple)) else [expected]
    found = run(scheduled(function, args, dynamic), args)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert error(a, b) <= 1e-6


@pytest.mark.parametrize("name", CASES)
def test_the_expected_rule_takes_the_function(name):
    function, args, dynamic, expected = CASES[name]
    found = set(rules(scheduled(function, args, dynamic)).values())
    assert expected <= found <= expected | {"elementwise"}


@pytest.mark.parametrize("name", ["chain", "softmax", "layer_norm", "max_pool", "matmul"])
def test_other_lanes_give_the_same(name):
    function, args, dynamic, _ = CASES[name]
    narrow, wide = (run(scheduled(function, args, dynamic, t), args)[0] for t in (HOST, WIDE))
    assert error(narrow, wide) <= 1e-6


def test_small_work_stays_on_one_thread_and_large_does_not():
    small = functions(scheduled(lambda x: x.relu(), (r(8),)))
    large = functions(scheduled(lambda x: x.relu(), (r(1000, 1000),)))
    assert "T.parallel" not in "".join(f.script() for f in small.values())
    assert "T.parallel" in "".join(f.script() for f in large.values())


def test_tokens_of_an_image_are_shared_by_all_threads():
    """The tokens of a vision transformer: a prime number with the class token, in a batch of one."""
    tokens = functions(scheduled(lambda x, y: torch.cat([y, x.transpose(1, 2)], 1) + 1, (r(1, 768, 196), r(1, 1, 768))))
    loops = [int(n) for f in tokens.values() for n in re.findall(r"T\.parallel\(T\.int64\((\d+)\)", f.script())]
    assert loops
    assert min(loops) > 1


def test_a_scheduled_function_is_left_alone():
    once = scheduled(lambda x: x.relu(), (r(8),))
    twice = schedule_module(once, WIDE)
    assert all(twice[var].same_as(func) for var, func in once.functions_items())
    assert all(func.attrs[SCHEDULED] for func in functions(once).values())


def test_the_fallback_applies_to_everything():
    for func in functions(unscheduled(lambda x: torch.softmax(x, -1).relu(), (r(3, 5),))).values():
        assert RULES[-1](func, HOST) is not None
