"""Between two linear layers numbers may stay in the tiles in which the first has computed them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

from torch import fx

from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.problem import LinearProblem
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.lower.decide import LINEAR, Candidate, Decision, Measured, decide
from sparsecomp.program import Program, arguments
from sparsecomp.targets.base import Target

_Side = Callable[[LinearProblem, int], LinearProblem]


def choose_kernels(program: Program, target: Target, measured: Measured | None = None) -> dict[str, Decision]:
    """What `decide` says of each layer, and `keep_tiles` of layers that follow one another; its arguments."""
    return keep_tiles(program, decide(program, target, measured), target)


def keep_tiles(program: Program, decisions: Mapping[str, Decision], target: Target) -> dict[str, Decision]:
    """The decisions, where a linear layer hands its tiles to the only one that reads its result, if that is faster.

    Both then have schedules with tiles of so many tokens, and neither transposes (see `LinearProblem.y_tile`).

    Args:
        program: what was decided on.
        decisions: by the name of the node, each layer for itself.
        target: the device.
    """
    found = dict(decisions)
    for node in program.calls(LINEAR):
        reader = _reader(node)
        if reader is not None:
            found |= _together(found[node.name], found[reader.name], target)
    return found


def _reader(node: fx.Node) -> fx.Node | None:
    """The linear layer that alone reads the result of this one, as its input."""
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or user.target is not LINEAR:
        return None
    given = arguments(user)
    return user if given["x"] is node and given["residual"] is not node else None


def _together(first: Decision, second: Decision, target: Target) -> dict[str, Decision]:
    """Both with the best schedules that have tiles in common; nothing where they are slower than those chosen."""
    if first.chosen is None or second.chosen is None:
        return {}
    best, least = None, first.chosen.seconds + second.chosen.seconds
    givers, takers = _offers(first, _giving, target), _offers(second, _taking, target)
    for giver, taker in product(givers, takers):
        seconds = giver.seconds + taker.seconds
        if _tile(giver) == _tile(taker) and seconds < least:
            best, least = (giver, taker), seconds
    if best is None:
        return {}
    size = _tile(best[0])[0]
    words = f" in tiles of {size} tokens"
    return {
        first.node: _changed(first, best[0], _giving, f"; hands its output to {second.layer}{words}"),
        second.node: _changed(second, best[1], _taking, f"; takes that of {first.layer}{words}"),
    }


def _giving(problem: LinearProblem, size: int) -> LinearProblem:
    return replace(problem, y_tile=size)


def _taking(problem: LinearProblem, size: int) -> LinearProblem:
    return replace(problem, x_tile=size)


def _tile(candidate: Candidate) -> tuple[int, int]:
    """Tokens of a tile, and lanes of a vector; a kernel of single values, or with other tiles, has none."""
    schedule = candidate.schedule
    if not isinstance(schedule, ColumnSchedule) or schedule.lanes == 1:
        return 0, 0
    return schedule.span * schedule.vectors * schedule.lanes, schedule.lanes


def _offers(decision: Decision, side: _Side, target: Target) -> list[Candidate]:
    """What each candidate takes that can give, or take, tiles."""
    problem, chosen = decision.problem, decision.chosen
    if not isinstance(problem, LinearProblem) or problem.tokens is None or chosen is None:
        return []
    if side is _giving and problem.epilogue.residual:
        return []
    settled = problem.x_tile or problem.y_tile
    alike = [each for each in decision.candidates if (each.measured is None) == (chosen.measured is None)]
    offered = [chosen] if settled else alike
    return [_faster(problem, each, side, decision.density, target) for each in offered if _tile(each)[0]]


def _faster(problem: LinearProblem, candidate: Candidate, side: _Side, density: float, target: Target) -> Candidate:
    """The candidate without the transposes; that it was measured with them is all that is known of it."""
    stats, schedule = WeightStats.unstructured(density), candidate.schedule
    before, after = (predict(each, stats, schedule, target) for each in (problem, side(problem, _tile(candidate)[0])))
    share = max(0.0, 1 - (before - after) / candidate.predicted)
    measured = None if candidate.measured is None else candidate.measured * share
    return Candidate(schedule, candidate.predicted * share, measured)


def _changed(decision: Decision, chosen: Candidate, side: _Side, words: str) -> Decision:
    assert isinstance(decision.problem, LinearProblem)
    others = [each for each in decision.candidates if each.schedule != chosen.schedule]
    problem = side(decision.problem, _tile(chosen)[0])
    return replace(decision, problem=problem, candidates=(chosen, *others), reason=decision.reason + words)
