"""Which kernel each weight gets, and why: one Decision for every linear and convolution."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import fx

import sparsecomp.ops  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.errors import LoweringError
from sparsecomp.kernels.apart import rows_apart, with_even_panels
from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.problem import ConvProblem, Epilogue, LinearProblem, Problem
from sparsecomp.kernels.schedule import Schedule, is_sparse
from sparsecomp.kernels.space import space
from sparsecomp.program import Program, arguments, layer_name
from sparsecomp.targets.base import Target

LINEAR, CONV = torch.ops.sparsecomp.linear.default, torch.ops.sparsecomp.conv.default
FUSED = (LINEAR, CONV)
# From a problem, the shape of its input, the statistics of its weight and its schedules to the seconds of those that
# were measured.
Measured = Callable[[Problem, Sequence[int], WeightStats, Sequence[Schedule]], Mapping[Schedule, float]]


@dataclass(frozen=True)
class Candidate:
    """A way to run a layer.

    Attributes:
        schedule: how.
        predicted: seconds that the cost model thinks one call takes.
        measured: seconds that one call took on the device, None if it was not measured.
    """

    schedule: Schedule
    predicted: float
    measured: float | None = None

    @property
    def is_sparse(self) -> bool:
        """Whether it skips zeros."""
        return is_sparse(self.schedule)

    @property
    def seconds(self) -> float:
        """Of one call, as measured or else predicted."""
        return self.predicted if self.measured is None else self.measured


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


def decide(program: Program, target: Target, measured: Measured | None = None) -> dict[str, Decision]:
    """A decision for every ``sparsecomp.linear`` and ``sparsecomp.conv`` of the program, by the name of its node.

    Args:
        program: after the passes.
        target: the device.
        measured: what is known of schedules beyond the cost model; where any was measured, the fastest of those is
            chosen.
    """
    known = measured or (lambda *_: {})
    return {node.name: _decide(program, node, target, known) for node in program.calls(*FUSED)}


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


def _decide(program: Program, node: fx.Node, target: Target, measured: Measured) -> Decision:
    given = arguments(node)
    weight = program.weight(given["weight"])
    stats = WeightStats.of(weight.numpy())
    problem, obstacle = problem_of(node)
    if problem is None:
        return Decision(layer_name(node), node.name, None, stats.density, (), obstacle)
    schedules = space(problem, stats, target)
    seconds = measured(problem, example_shape(given["x"]), stats, schedules)
    guesses = [Candidate(s, predict(problem, stats, s, target), seconds.get(s)) for s in schedules]
    timed = sorted((c for c in guesses if c.measured is not None), key=lambda c: c.measured or 0.0)
    ranked = [*timed, *(candidate for candidate in guesses if candidate.measured is None)]
    reason = _measured_reason(timed, guesses[0], stats) if timed else _reason(guesses, stats)
    apart = _apart(node, problem, stats, target, ranked)
    if apart is not None:
        ranked, reason = [apart, *ranked], f"{reason}; by rows, since a depthwise convolution takes each at once"
    return Decision(layer_name(node), node.name, problem, stats.density, _shortlist(ranked), reason)


def _apart(
    node: fx.Node, problem: Problem, stats: WeightStats, target: Target, ranked: Sequence[Candidate]
) -> Candidate | None:
    """The best way to compute it channel by channel, if the best way of all allows that and somebody gains by it."""
    best = ranked[0]
    same = rows_apart(problem, best.schedule, target)
    if same is None or not is_read_by_depthwise(node):
        return None
    even = (replace(best, schedule=s) for s in with_even_panels(problem, same, target))
    known = [best] if best.measured is not None else [*ranked, *even]
    schedules = [(each, rows_apart(problem, each.schedule, target)) for each in known]
    found = [replace(each, schedule=s, predicted=predict(problem, stats, s, target)) for each, s in schedules if s]
    return min(found, key=lambda each: each.predicted)


def is_read_by_depthwise(node: fx.Node) -> bool:
    """Whether a depthwise convolution reads its result, and nobody else does."""
    users = list(node.users)
    if len(users) != 1 or users[0].target is not CONV:
        return False
    given = arguments(users[0])
    channels, each = given["weight"].meta["val"].shape[:2]
    return given["x"] is node and each == 1 and given["groups"] == channels > 1


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
    if ratio < 1:
        return f"density {stats.density:.3f}; {rest} is predicted no more than {1 / ratio:.2f} times as fast as {kind}"
    return f"density {stats.density:.3f}; {kind} is predicted {ratio:.2f} times as fast as {rest}"


def _measured_reason(timed: Sequence[Candidate], guess: Candidate, stats: WeightStats) -> str:
    """Why the first of the measured candidates; the guess is the one that the cost model would have taken."""
    best = timed[0]
    assert best.measured is not None
    kind, rest = ("sparse", "dense") if best.is_sparse else ("dense", "sparse")
    words = [f"density {stats.density:.3f}; {kind}, the fastest of {len(timed)} measured"]
    if guess.measured is not None:
        words.append(f"{guess.measured / best.measured:.2f} times as fast as the first guess")
    other = next((candidate.measured for candidate in timed if candidate.is_sparse != best.is_sparse), None)
    if other is not None:
        words.append(f"{other / best.measured:.2f} times as fast as {rest}")
    return ", ".join(words)


def example_shape(node: fx.Node) -> list[int]:
    """The shape of a tensor for the example inputs; sizes that vary have those of the example."""
    return [size if isinstance(size, int) else int(size.node.hint) for size in node.meta["val"].shape]


def problem_of(node: fx.Node) -> tuple[Problem | None, str]:
    """What a fused operator asks of a kernel; None and the reason where no kernel of ours takes it."""
    given = arguments(node)
    weight = given["weight"].meta["val"]
    if node.target is CONV:
        return _conv_problem(given, given["x"].meta["val"], weight)
    tokens = _known(math.prod(node.meta["val"].shape[:-1]))
    problem = LinearProblem(tokens, weight.shape[1], weight.shape[0], _epilogue(given))
    if tokens is None:
        problem = replace(problem, likely=math.prod(example_shape(given["x"])[:-1]))
    return problem, ""


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
