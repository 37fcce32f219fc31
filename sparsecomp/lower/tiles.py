"""Between two linear layers numbers may stay in the tiles in which the first has computed them."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

from torch import fx

from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.problem import LinearProblem
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.lower.decide import LINEAR, Candidate, Decision
from sparsecomp.program import Program, arguments
from sparsecomp.targets.base import Target


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
    best, least = None, _seconds(first.chosen) + _seconds(second.chosen)
    givers, takers = _offers(first, "y_tile", target), _offers(second, "x_tile", target)
    for (tile, giver), (other, taker) in product(givers, takers):
        seconds = _seconds(giver) + _seconds(taker)
        if tile == other and seconds < least:
            best, least = (tile, giver, taker), seconds
    if best is None:
        return {}
    (size, lanes), giver, taker = best
    words = f"; {{}} in tiles of {size} tokens"
    return {
        first.node: _changed(first, giver, "y_tile", size, words.format(f"keeps its output for {second.layer}")),
        second.node: _changed(second, taker, "x_tile", size, words.format(f"takes that of {first.layer}")),
    }


def _seconds(candidate: Candidate) -> float:
    return candidate.predicted if candidate.measured is None else candidate.measured


def _offers(decision: Decision, side: str, target: Target) -> list[tuple[tuple[int, int], Candidate]]:
    """Tokens of a tile and lanes of a vector of each candidate that can have this side in tiles, and what it takes then."""
    problem, chosen = decision.problem, decision.chosen
    if not isinstance(problem, LinearProblem) or problem.tokens is None or chosen is None:
        return []
    if side == "y_tile" and problem.epilogue.residual:
        return []
    stats, settled = WeightStats.unstructured(decision.density), problem.x_tile or problem.y_tile
    offers = []
    for candidate in (chosen,) if settled else decision.candidates:
        schedule = candidate.schedule
        if not isinstance(schedule, ColumnSchedule) or schedule.lanes == 1:
            continue
        if (candidate.measured is None) != (chosen.measured is None):
            continue
        size = schedule.span * schedule.vectors * schedule.lanes
        before, after = (
            predict(each, stats, schedule, target) for each in (problem, replace(problem, **{side: size}))
        )
        faster = max(0.0, 1 - (before - after) / candidate.predicted)
        measured = None if candidate.measured is None else candidate.measured * faster
        offers.append(((size, schedule.lanes), Candidate(schedule, candidate.predicted * faster, measured)))
    return offers


def _changed(decision: Decision, chosen: Candidate, side: str, size: int, words: str) -> Decision:
    others = [each for each in decision.candidates if each.schedule != chosen.schedule]
    assert isinstance(decision.problem, LinearProblem)
    problem = replace(decision.problem, **{side: size})
    return replace(decision, problem=problem, candidates=(chosen, *others), reason=decision.reason + words)
