"""How operators are translated to Relax where TVM's importer has no rule, a wrong one or a slow one.

A converter takes the node and the context and returns the Relax variable of its result, or None to leave the node to
TVM's importer.
"""

from collections.abc import Callable
from typing import Any

from torch import fx

from sparsecomp.lower.context import Context
from sparsecomp.lower.converters import (
    attention,
    create,
    enlarge,
    fused,
    gather,
    norm,
    packed,
    parts,
    pointwise,
    recurrent,
    view,
    window,
)

Converter = Callable[[fx.Node, Context], Any]

CONVERTERS: dict[Any, Converter] = {
    **attention.CONVERTERS,
    **create.CONVERTERS,
    **enlarge.CONVERTERS,
    **fused.CONVERTERS,
    **gather.CONVERTERS,
    **norm.CONVERTERS,
    **packed.CONVERTERS,
    **parts.CONVERTERS,
    **pointwise.CONVERTERS,
    **recurrent.CONVERTERS,
    **view.CONVERTERS,
    **window.CONVERTERS,
}
