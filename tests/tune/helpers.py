"""Small programs, and a worker that needs no process."""

import torch
from torch import nn

from sparsecomp.compilation import Compilation
from sparsecomp.dump import Dump
from sparsecomp.targets import detect
from sparsecomp.tune.process import TrialError
from tests.graphs import net, tensor


def sparse(layer, density=0.25):
    """Keeps this part of a layer's weights, in no structure."""
    weight = layer.weight.data
    keep = tensor(*weight.shape, seed=7).flatten().argsort()[: round(density * weight.numel())]
    mask = weight.new_zeros(weight.numel())
    mask[keep] = 1
    weight.mul_(mask.view(weight.shape))


def two_kinds():
    """A network of three layers, two of them alike, the third sharing no schedule with them; and its input.

    What the first gives is read twice, so that it hands no tiles on.
    """

    def forward(net, x):
        hidden = net.first(x).relu()
        return net.head(torch.cat([net.second(hidden).relu(), hidden], dim=-1))

    model = net(
        forward,
        first=nn.Linear(48, 48),
        second=nn.Linear(48, 48),
        head=nn.Linear(96, 20),
    )
    for layer in (model.first, model.second, model.head):
        sparse(layer)
    return model, tensor(8, 48)


def rewritten(model, *args, dynamic_shapes=None):
    """The program that is tuned."""
    return Compilation(model, detect(), dynamic_shapes, verify=False).rewritten(args, None, Dump(None))


class FakeWorker:
    """Answers what ``seconds`` says of each schedule; a string is a failure, an exception is raised."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.requests = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, request):
        self.requests.append(request)
        answer = self.seconds(request.schedule)
        if isinstance(answer, str):
            raise TrialError(answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer, None if request.best is None else self.seconds(request.best)
