import numpy as np
import torch
from torch import nn
from torch.export import Dim

from sparsecomp.kernels.problem import ConvProblem, LinearProblem
from sparsecomp.targets import detect
from sparsecomp.tune.task import collect, weight_bytes
from tests.graphs import net, tensor
from tests.tune.helpers import rewritten, sparse, two_kinds


def operands(task, program, directory):
    task.write_operands(program, directory)
    return {path.stem: np.load(path) for path in directory.iterdir()}


def test_layers_that_are_alike_share_a_task():
    model, x = two_kinds()
    tasks = collect(rewritten(model, x), detect())
    assert [task.layers for task in tasks] == [["first", "second"], ["head"]]
    assert [task.density for task in tasks] == [0.25, 0.25]
    assert all(task.schedules for task in tasks)


def test_layers_of_another_density_do_not():
    model, x = two_kinds()
    sparse(model.second, 0.1)
    assert [task.layers for task in collect(rewritten(model, x), detect())] == [["first"], ["second"], ["head"]]


def test_operands_of_a_linear_layer(tmp_path):
    model = net(lambda net, x, y: net.head(x).relu() + y, head=nn.Linear(6, 4))
    program = rewritten(model, tensor(2, 3, 6), tensor(2, 3, 4))
    (task,) = collect(program, detect())
    assert isinstance(task.problem, LinearProblem)
    found = operands(task, program, tmp_path)
    assert found["x"].shape == (6, 6)
    np.testing.assert_array_equal(found["weight"], model.head.weight.detach())
    y = np.maximum(found["x"] @ found["weight"].T + found["bias"], 0) + found["residual"]
    np.testing.assert_allclose(found["y"], y, rtol=1e-4, atol=1e-5)


def test_operands_of_a_convolution_in_one_dimension(tmp_path):
    model = net(lambda net, x: net.conv(x), conv=nn.Conv1d(4, 6, 3, padding=1, bias=False))
    program = rewritten(model, tensor(2, 4, 10))
    (task,) = collect(program, detect())
    assert isinstance(task.problem, ConvProblem)
    found = operands(task, program, tmp_path)
    assert {name: array.shape for name, array in found.items()} == {
        "x": (2, 4, 1, 10),
        "weight": (6, 4, 3),
        "y": (2, 6, 1, 10),
    }


def test_sizes_that_vary_are_those_of_the_example(tmp_path):
    model = net(lambda net, x: net.head(x), head=nn.Linear(6, 4))
    program = rewritten(model, tensor(5, 6), dynamic_shapes={"inputs": ({0: Dim("batch", min=1)},)})
    (task,) = collect(program, detect())
    assert task.problem.tokens is None
    assert '"input": [5, 6]' in task.key.problem
    assert operands(task, program, tmp_path)["y"].shape == (5, 4)


def test_what_has_no_choice_of_schedules_is_left_out():
    model = net(lambda net, x: net.conv(x), conv=nn.Conv2d(4, 4, 3, groups=4))
    assert collect(rewritten(model, tensor(1, 4, 8, 8)), detect()) == []


def test_bytes_of_the_weights_that_a_call_reads():
    model, x = two_kinds()
    tasks = collect(rewritten(model, x), detect())
    assert weight_bytes(tasks) == (2 * 48 * 48 + 20 * 96) * 6 // 4
    torch.nn.init.ones_(model.head.weight)
    assert weight_bytes(collect(rewritten(model, x), detect())) == 2 * 48 * 48 * 6 // 4 + 20 * 96 * 4
