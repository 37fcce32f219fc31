"""What removal takes out, as data for the report."""

from collections.abc import Iterable

from sparsecomp.program import Removed, layer_name
from sparsecomp.rules.call import Value
from sparsecomp.rules.coupling import AxisKey, Coupling
from sparsecomp.rules.table import FactTable


def what_goes(coupling: Coupling) -> tuple[Removed, ...]:
    """For each group of tied axes that loses slices: where most of them go."""
    found = [_of_group(group, coupling) for group in coupling.groups()]
    return tuple(each for each in found if each is not None)


def known_tensors(values: Iterable[Value], table: FactTable) -> tuple[Removed, ...]:
    """Tensors that are constant as a whole, so that nothing computes them any more."""
    found = []
    for value in values:
        solved = table.solved(value)
        assert solved is not None, f"{value.node.name} is not known"
        axis, known = solved
        found.append(_removed(value, axis, known.size, (value.node.name,)))
    return tuple(found)


def merged(before: Iterable[Removed], more: Iterable[Removed]) -> tuple[Removed, ...]:
    """Both lists; what was removed from one axis in several rounds is one entry."""
    entries = {(each.tensor, each.axis): each for each in before}
    for each in more:
        old = entries.get((each.tensor, each.axis))
        if old is not None:
            members = tuple(sorted({*old.members, *each.members}))
            each = Removed(each.layer, each.tensor, each.axis, old.slices, old.removed + each.removed, members)
        entries[each.tensor, each.axis] = each
    return tuple(entries.values())


def _of_group(group: list[AxisKey], coupling: Coupling) -> Removed | None:
    lost = {key: _lost(key, coupling) for key in group if key[0].node.op == "call_function"}
    members = tuple(sorted({value.node.name for (value, _), count in lost.items() if count}))
    if not members:
        return None
    value, axis = max(lost, key=lambda key: lost[key])
    return _removed(value, axis, lost[value, axis], members)


def _lost(key: AxisKey, coupling: Coupling) -> int:
    kept = coupling.kept(*key)
    return 0 if kept is None else int((~kept).sum())


def _removed(value: Value, axis: int, count: int, members: tuple[str, ...]) -> Removed:
    return Removed(layer_name(value.node), value.node.name, axis, int(value.shape[axis]), count, members)
