"""Parts in their places: what is joined is written into the buffer of the whole, what is taken apart is read there.

Runs on allocations, before memory is planned. A function that would copy parts, marked `JOINS` or `PART`, does nothing
where all of its calls find them in place.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import tvm
from tvm import ir, relax, tirx

from sparsecomp.lower.calls import bindings, is_call, returned, variables

JOINS = "sparsecomp.joins"  # of a function (parts..., whole): at how many bytes of the whole the parts begin
PART = "sparsecomp.part"  # of a function (whole, part): at how many bytes of the whole the part begins


def place_parts(module: ir.IRModule) -> ir.IRModule:
    """Let tensors share buffers where that saves copies."""
    main = module["main"]
    plan = _Plan(module)
    if not plan.inside:
        return module
    blocks = [relax.BindingBlock(list(plan.rewrite(block.bindings))) for block in main.body.blocks]
    body = relax.SeqExpr(blocks, main.body.body)
    function = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    module.update_func(module.get_global_var("main"), function)
    for variable in plan.needless:
        module.update_func(variable, module[variable].with_body(tirx.Evaluate(0)))
    return module


class _Plan:
    """Which allocation lies in which.

    Attributes:
        inside: the allocation that each placed one lies in, and at how many bytes.
        needless: functions that have nothing left to copy.
    """

    def __init__(self, module: ir.IRModule) -> None:
        main = module["main"]
        self._find_allocations(main)
        self._returned = {self._resolve(each) for each in variables(returned(main))}
        copies = [binding.value for binding in bindings(main) if _mark(module, binding.value) is not None]
        self.needless = {call.op for call in copies}
        while True:  # a function that one call needs copies for all
            self.inside: dict[Any, tuple[Any, int]] = {}
            placed = [(call.op, self._place(call, _mark(module, call))) for call in copies if call.op in self.needless]
            needed = {function for function, done in placed if not done}
            if not needed:
                break
            self.needless -= needed

    def _find_allocations(self, main: relax.Function) -> None:
        self._allocated: dict[Any, Any] = {}
        self._same: dict[Any, Any] = {}
        for binding in bindings(main):
            value = binding.value
            if isinstance(value, relax.Var):
                self._same[binding.var] = self._resolve(value)
            elif is_call(value, "relax.reshape"):
                self._same[binding.var] = self._resolve(value.args[0])
            elif is_call(value, "relax.builtin.alloc_tensor") and _is_known(binding.var):
                self._allocated[binding.var] = value

    def _resolve(self, variable: Any) -> Any:
        """The allocation that a variable stands for, if it is one."""
        return self._same.get(variable, variable)

    def _place(self, call: Any, mark: Any) -> bool:
        """Give the parts of a call their places, if all can have them."""
        *given, written = (self._resolve(each) for each in call.args)
        whole, parts = (given[0], [written]) if isinstance(mark, int) else (written, given)
        offsets = [mark] if isinstance(mark, int) else [int(offset) for offset in mark]
        if whole not in self._allocated or len(set(parts)) < len(parts) or not all(map(self._may_move, parts)):
            return False
        if set(self._around(whole)) & set(parts):
            return False
        self.inside |= {part: (whole, offset) for part, offset in zip(parts, offsets, strict=True)}
        return True

    def _may_move(self, part: Any) -> bool:
        return part in self._allocated and part not in self.inside and part not in self._returned

    def _around(self, variable: Any) -> Iterator[Any]:
        """The variable, what it lies in, what that lies in, ..."""
        yield variable
        while variable in self.inside:
            variable = self.inside[variable][0]
            yield variable

    def rewrite(self, block: Iterable[Any]) -> Iterator[Any]:
        """The bindings of a block, those that share a buffer allocated in it."""
        wholes = {list(self._around(part))[-1] for part in self.inside}
        builder, buffers = relax.BlockBuilder(), {}
        for binding in block:
            variable = binding.var
            *_, root = self._around(variable)
            if root not in wholes:
                yield binding
                continue
            if root not in buffers:
                size = relax.ShapeExpr([_bytes(root)])
                new = builder.normalize(relax.op.memory.alloc_storage(size, 0, "global", "uint8"))
                buffers[root] = relax.Var("buffer", new.ty)
                yield relax.VarBinding(buffers[root], new)
            offset = sum(self.inside[each][1] for each in self._around(variable) if each in self.inside)
            shape, dtype, *_ = self._allocated[variable].args
            tensor = builder.normalize(relax.op.memory.alloc_tensor(buffers[root], offset, shape, dtype))
            if offset:  # kernels take no offset: the pointer has it
                place = relax.Var("place", tensor.ty)
                yield relax.VarBinding(place, tensor)
                tensor = builder.normalize(relax.op.memory.ensure_zero_offset(place))
            yield relax.VarBinding(variable, tensor)


def _mark(module: ir.IRModule, value: Any) -> Any:
    """The places of the parts that a call copies; None for any other."""
    if not isinstance(value, relax.Call) or not isinstance(value.op, ir.GlobalVar):
        return None
    attributes = module[value.op].attrs or {}
    return next((attributes[name] for name in (JOINS, PART) if name in attributes), None)


def _is_known(tensor: Any) -> bool:
    return all(isinstance(size, tirx.IntImm) for size in tensor.ty.shape.values)


def _bytes(tensor: Any) -> int:
    return math.prod(int(size) for size in tensor.ty.shape.values) * int(tvm.DataType(tensor.ty.dtype).itemsize)
