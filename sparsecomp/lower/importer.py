"""Program -> Relax: TVM's importer, with our converters before its own and one error for all that is missing."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from tvm import ir, relax
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
from tvm_ffi import structural_equal

from sparsecomp.errors import LoweringError, UnsupportedOperatorError
from sparsecomp.lower.callback import call_back, is_callback
from sparsecomp.lower.calls import NODES
from sparsecomp.lower.context import Context
from sparsecomp.lower.converters import CONVERTERS
from sparsecomp.lower.exported import to_exported
from sparsecomp.lower.pack import Packed
from sparsecomp.program import Program, source_line
from sparsecomp.targets.base import Target


def to_relax(program: Program, target: Target, kernels: Mapping[str, Packed]) -> ir.IRModule:
    """Translate a program to a Relax module with one function ``main(inputs..., weights)``.

    ``weights`` is one tuple: the tensors of ``program.weights()``, in that order. The attribute `NODES` of the module
    says which variable holds the result of which node.

    Args:
        program: the program, its weights packed.
        target: the device to compile for.
        kernels: what `pack_weights` returned.

    Raises:
        UnsupportedOperatorError: lists every operator that neither we nor TVM can translate.
        LoweringError: an operator is known, but not with these arguments.
    """
    names = _check_supported(program)
    exported = to_exported(program)
    convert = _Converter(target, kernels)
    module = from_exported_program(
        exported,
        keep_params_as_input=True,
        run_ep_decomposition=False,
        custom_convert_map=dict.fromkeys(names, convert),
    )
    main = module["main"].without_attr("params")
    module.update_func(module.get_global_var("main"), main)
    return relax.transform.BundleModelParams()(module).with_attr(NODES, convert.results)


def _check_supported(program: Program) -> set[str]:
    known = set(ExportedProgramImporter().create_convert_map())
    missing, names = [], set()
    for node in program.calls():
        name = _name(node)
        names.add(name)
        is_size = isinstance(node.meta["val"], int | torch.SymInt)
        if not (is_size or node.target in CONVERTERS or name in known or is_callback(node)):
            missing.append(node)
    if missing:
        lines = "\n".join(
            f"  {node.target} in node {node.name} ({source_line(node) or 'no source'})" for node in missing
        )
        raise UnsupportedOperatorError(
            f"lower: no lowering for {len(missing)} operator call(s):\n{lines}\n"
            "rewrite them with supported operators, or report them"
        )
    return names


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


class _Converter:
    """Translates one node; what the importer calls for every operator of the graph."""

    def __init__(self, target: Target, kernels: Mapping[str, Packed]) -> None:
        self._target = target
        self._kernels = kernels
        self._context: Context | None = None
        self._fallbacks: dict[str, Any] = {}

    def __call__(self, node: fx.Node, importer: Any) -> Any:
        if self._context is None:
            self._context = Context(importer, self._target, node.graph, self._kernels)
            self._fallbacks = importer.create_convert_map()
        value = node.meta["val"]
        if isinstance(value, int | torch.SymInt):
            return self._context.symbols.dim(value)
        try:
            result = self._settle(self._convert(node, self._context), value)
        except LoweringError:
            raise
        except Exception as error:  # the importer raises many types, TVM's own among them
            where = source_line(node)
            raise LoweringError(
                f"lower: {node.target} in node {node.name} cannot be translated with these arguments"
                f"{f' ({where})' if where else ''}: {error}"
            ) from error
        if isinstance(result, relax.Var):
            self._context.results.setdefault(result.name, node.name)
        return result

    @property
    def results(self) -> dict[str, str]:
        """From the name of each variable that holds a node's result to the name of the node."""
        return self._context.results if self._context is not None else {}

    def _convert(self, node: fx.Node, context: Context) -> Any:
        ours = CONVERTERS.get(node.target)
        result = ours(node, context) if ours is not None else None
        if result is None and is_callback(node):
            return call_back(node, context)
        return result if result is not None else self._fallbacks[_name(node)](node)

    def _settle(self, result: Any, value: Any) -> Any:
        """Give the result the type that torch computed, where TVM could not infer it."""
        assert self._context is not None
        if not isinstance(value, torch.Tensor) or not isinstance(result, relax.Expr):
            return result
        expected = self._context.type_of(value)
        if (
            isinstance(result.ty, relax.TensorType)
            and result.ty.shape is not None
            and structural_equal(result.ty.shape.values, expected.shape.values)
        ):
            return result
        return self._context.builder.match_cast(result, expected)
