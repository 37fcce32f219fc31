"""Masks by the name of the parameter: saved, applied to another copy, kept while a user trains on."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize

from sparsecomp.errors import PruneError

Masks = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


def save_masks(masks: Masks, path: str | Path) -> None:
    """Write masks to a safetensors file, one boolean tensor a parameter."""
    save_file({name: mask.contiguous() for name, mask in masks.items()}, path)


def load_masks(path: str | Path) -> dict[str, Tensor]:
    """Read what `save_masks` wrote.

    Raises:
        PruneError: the file holds something else.
    """
    try:
        masks = load_file(path)
    except Exception as e:  # safetensors raises a type of its own that is not public
        raise PruneError(f"prune: {path} cannot be read as a safetensors file: {e}") from e
    if any(mask.dtype != torch.bool for mask in masks.values()):
        raise PruneError(f"prune: {path} holds tensors that are no masks")
    return masks


def apply_masks(model: Module, masks: Masks) -> Module:
    """A copy of the model with zeros where a mask is False.

    Raises:
        PruneError: the model has no parameter of that name and shape.
    """
    check_masks(model, masks)
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            result.get_parameter(name).mul_(mask)
    return result


def check_masks(model: nn.Module, masks: Masks) -> None:
    """Whether each mask fits the parameter of its name.

    Raises:
        PruneError: one does not.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    for name, mask in masks.items():
        if shapes.get(name) != tuple(mask.shape):
            raise PruneError(
                f"prune: the mask of {name} has shape {tuple(mask.shape)}, the model has "
                f"{shapes.get(name, 'no such parameter')}"
            )


class Mask(nn.Module):
    """A parametrization that multiplies with a mask: neither the weight nor its gradient is ever nonzero elsewhere."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its zeros."""
        return weight * self.mask


def parametrize_masks(model: Module, masks: Masks) -> Module:
    """Register a `Mask` for each parameter, in place; a parameter that modules share gets one in each of them."""
    check_masks(model, masks)
    by_id = {id(model.get_parameter(name)): mask for name, mask in masks.items()}
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) in by_id:
                parametrize.register_parametrization(module, name, Mask(by_id[id(parameter)].clone()))
    return model


def bake_masks(model: Module) -> Module:
    """Undo `parametrize_masks`, in place: plain parameters with zeros in them."""
    for module in list(model.modules()):
        for name, found in list(getattr(module, "parametrizations", {}).items()):
            if any(isinstance(each, Mask) for each in found):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model


def write_parameters(model: nn.Module | ExportedProgram, tensors: Mapping[str, Tensor]) -> None:
    """Set parameters by name, in place."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            target = model.state_dict[name] if isinstance(model, ExportedProgram) else model.get_parameter(name)
            target.copy_(tensor)
