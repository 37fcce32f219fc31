"""Which kernel each weight gets, and why: one Decision for every linear and convolution."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import fx

import sparsecomp.ops  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.errors import LoweringError
from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.problem import ConvProblem, Epilogue, LinearProblem, Problem
from sparsecomp.kernels.row_panel import space
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.program import Program, arguments, layer_name
from sparsecomp.targets.base import Target

LINEAR, CONV = torch.ops.sparsecomp.linear.default, torch.ops.sparsecomp.conv.default


@dataclass(frozen=True)
class Candidate:
    """A way to run a layer: the schedule and the seconds that one call is predicted to take."""

    schedule: Schedule
    predicted: float

    @property
    def is_sparse(self) -> bool:
        """Whether it skips zeros."""
        return bool(getattr(self.schedule, "sparse", False))


@dataclass(frozen=True)
class Decision:
    """What was decided for one weight.

    Attributes:
        layer: path of the layer in the user's model.
        node: name of the node in the graph.
        problem: what the kernel computes; None if no kernel of ours takes it.
        density: share of the weights that are not zero.
        candidates: the ways to run it, best first; the first was chosen.
        reason: why, in words.
    """

    layer: str
    node: str
    problem: Problem | None
    density: float
    candidates: tuple[Candidate, ...]
    reason: str

    @property
    def chosen(self) -> Candidate | None:
        """The way it runs; None: by TVM's own operator and our schedule rules."""
        return self.candidates[0] if self.candidates else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "chosen": None if self.chosen is None else asdict(self.chosen)}


def decide(program: Program, target: Target) -> dict[str, Decision]:
    """A decision for every ``sparsecomp.linear`` and ``sparsecomp.conv`` of the program, by the name of its node."""
    return {node.name: _decide(program, node, target) for node in program.calls(LINEAR, CONV)}


def check_all_sparse(decisions: Iterable[Decision]) -> None:
    """Refuse weights that have zeros and run in a way that does not skip them.

    Raises:
        LoweringError: lists every such weight with the reason.
    """
    dense = [item for item in decisions if item.density < 1 and not (item.chosen and item.chosen.is_sparse)]
    if dense:
        lines = "\n".join(f"  {item.layer}: {item.reason}" for item in dense)
        raise LoweringError(
            f"strict: {len(dense)} weight(s) with zeros run dense:\n{lines}\ncompile without strict=True to accept that"
        )


def _decide(program: Program, node: fx.Node, target: Target) -> Decision:
    weight_node = node.args[1]
    assert isinstance(weight_node, fx.Node)
    weight = program.weight(weight_node)
    stats = WeightStats.of(weight.numpy())
    problem, obstacle = problem_of(node)
    if problem is None:
        return Decision(layer_name(node), node.name, None, stats.density, (), obstacle)
    schedules = space(problem, stats, target)
    ranked = sorted((Candidate(s, predict(problem, stats, s, target)) for s in schedules), key=lambda c: c.predicted)
    return Decision(layer_name(node), node.name, problem, stats.density, _shortlist(ranked), _reason(ranked, stats))


def _shortlist(ranked: Sequence[Candidate], most: int = 8) -> tuple[Candidate, ...]:
    """The best few, and the best of the other kind (dense or sparse) if none of it is among them."""
    best = list(ranked[:most])
    kinds = {candidate.is_sparse for candidate in best}
    other = next((candidate for candidate in ranked[most:] if candidate.is_sparse not in kinds), None)
    return tuple(best if other is None else [*best, other])


def _reason(ranked: Sequence[Candidate], stats: WeightStats) -> str:
    best = ranked[0]
    other = next((candidate for candidate in ranked if candidate.is_sparse != best.is_sparse), None)
    kind, rest = ("sparse", "dense") if best.is_sparse else ("dense", "sparse")
    if other is None:
        return f"density {stats.density:.3f}; only {kind} schedules apply"
    ratio = other.predicted / best.predicted
    return f"density {stats.density:.3f}; {kind} is predicted {ratio:.2f} times as fast as {rest}"


def problem_of(node: fx.Node) -> tuple[Problem | None, str]:
    """What a fused operator asks of a kernel; None and the reason where no kernel of ours takes it."""
    given = arguments(node)
    weight = given["weight"].meta["val"]
    if node.target is CONV:
        return _conv_problem(given, given["x"].meta["val"], weight)
    tokens = math.prod(node.meta["val"].shape[:-1])
    return LinearProblem(_known(tokens), weight.shape[1], weight.shape[0], _epilogue(given)), ""


def _conv_problem(given: dict[str, Any], x: torch.Tensor, weight: torch.Tensor) -> tuple[Problem | None, str]:
    height, width = _pair(x.shape[2:], 1)
    if not isinstance(height, int) or not isinstance(width, int):
        return None, "the size of the image varies, which the convolution kernels do not take"
    if weight.shape[1] == 1 and given["groups"] > 1:
        return None, "depthwise: each weight is used by one channel alone"
    rows, columns = _pair(given["padding"], 0)
    problem = ConvProblem(
        batch=_known(x.shape[0]),
        in_channels=x.shape[1],
        out_channels=weight.shape[0],
        height=height,
        width=width,
        kernel=_pair(weight.shape[2:], 1),
        stride=_pair(given["stride"], 1),
        padding=(rows, rows, columns, columns),
        dilation=_pair(given["dilation"], 1),
        groups=given["groups"],
        epilogue=_epilogue(given),
    )
    return problem, ""


def _pair(value: Any, height: int) -> tuple[int, int]:
    """Height and width of a parameter; a 1-D convolution has none for the height."""
    return (height, value[0]) if len(value) == 1 else (value[0], value[1])


def _known(size: Any) -> int | None:
    return size if isinstance(size, int) else None


def _epilogue(given: dict[str, Any]) -> Epilogue:
    return Epilogue(
        bias=given["bias"] is not None,
        residual=given["residual"] is not None,
        activation=given["activation"] or None,
        low=given["low"],
        high=given["high"],
        residual_last=given["residual_last"],
    )
