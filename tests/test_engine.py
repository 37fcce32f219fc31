"""The engine takes tensors of any layout and framework, and shares memory with nobody who could notice."""

import numpy as np
import pytest
import torch

import sparsecomp
from sparsecomp.engine import ALIGNMENT, to_tvm
from sparsecomp.errors import InputError
from tests.graphs import net

BASE = torch.arange(24.0).reshape(4, 6)


def misaligned(tensor):
    """The same values, four bytes after an aligned address."""
    storage = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
    storage[1:] = tensor.flatten()
    return storage[1:].view(tensor.shape)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "torch": BASE.clone(),
    "numpy": BASE.numpy().copy(),
    "torch misaligned": misaligned(BASE),
    "torch transposed": BASE.t().contiguous().t(),
    "torch every second": torch.stack([BASE, BASE], 1).flatten(0, 1)[::2],
    "torch expanded": torch.ones(1, 6).expand(4, 6),
    "torch parameter": torch.nn.Parameter(BASE.clone()),
    "torch that needs a gradient": BASE.clone().requires_grad_() * 1,
    "torch channels last": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "torch bfloat16 transposed": BASE.bfloat16().t().contiguous().t(),
    "numpy misaligned": misaligned(BASE).numpy(),
    "numpy read-only": read_only(BASE.numpy()),
    "numpy column-major": np.asfortranarray(BASE.numpy()),
    "numpy backwards": BASE.numpy().copy()[::-1],
    "numpy broadcast": np.broadcast_to(np.float32(2), (4, 6)),
    "numpy scalar array": np.array(3.0, np.float32),
    "int64": torch.arange(5),
    "int32 numpy": np.arange(5, dtype=np.int32),
    "bool": torch.tensor([True, False, True]),
    "bool numpy transposed": (BASE.numpy() > 5).T,
    "no axes": torch.tensor(2.5),
    "empty": torch.empty(0, 6),
    "empty numpy": np.empty((0, 6), np.float32),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_any_layout_arrives_with_its_values(name):
    given = LAYOUTS[name]
    found = to_tvm(given)
    expected = given.detach().float().numpy() if isinstance(given, torch.Tensor) else given
    assert tuple(found.shape) == tuple(given.shape)
    assert str(found.dtype) == str(given.dtype).removeprefix("torch.")
    assert np.array_equal(torch.from_dlpack(found).float().numpy(), np.asarray(expected, np.float32))


@pytest.mark.parametrize("name", LAYOUTS)
def test_any_layout_is_aligned_on_arrival(name):
    pointer = torch.from_dlpack(to_tvm(LAYOUTS[name])).data_ptr()
    assert pointer % ALIGNMENT == 0


@pytest.mark.parametrize("given", [torch.zeros(64), np.zeros((64, 64), np.float32)], ids=["torch", "numpy"])
def test_a_plain_tensor_is_not_copied(given):
    if torch.as_tensor(given).data_ptr() % ALIGNMENT:
        given = given[4:]  # numpy aligns to 16 bytes only
        pytest.skip("the allocator did not align this one")
    assert torch.from_dlpack(to_tvm(given)).data_ptr() == torch.as_tensor(given).data_ptr()


@pytest.mark.parametrize("given", [torch.eye(3).to_sparse(), torch.zeros(3, device="meta")], ids=["sparse", "meta"])
def test_what_cannot_be_read_is_refused(given):
    with pytest.raises(InputError, match=r"cannot be read .* pass a dense tensor or array"):
        to_tvm(given)


@pytest.fixture(scope="module")
def affine():
    return sparsecomp.compile(net(lambda net, x, y: x * 2 + y), "native", (torch.zeros(4, 6), torch.zeros(6)))


FLOATS = [name for name, given in LAYOUTS.items() if tuple(given.shape) == (4, 6) and "float32" in str(given.dtype)]


@pytest.mark.parametrize("name", FLOATS)
def test_any_layout_computes_the_same(affine, name):
    given = LAYOUTS[name]
    y = torch.ones(6) if isinstance(given, torch.Tensor) else np.ones(6, np.float32)
    result = affine(given, y)
    assert type(result) is type(y)
    expected = np.asarray(given.detach() if isinstance(given, torch.Tensor) else given) * 2 + 1
    assert np.array_equal(np.asarray(result), expected)


def test_inputs_of_both_frameworks_give_torch(affine):
    assert isinstance(affine(BASE, np.ones(6, np.float32)), torch.Tensor)
    assert isinstance(affine(BASE.numpy(), torch.ones(6)), torch.Tensor)


def test_each_call_has_results_of_its_own(affine):
    results = [affine(BASE, torch.full((6,), float(i))) for i in range(20)]
    for i, result in enumerate(results):
        assert torch.equal(result, BASE * 2 + i)


def test_what_is_made_in_inference_mode_can_be_trained_on_outside(affine):
    with torch.inference_mode():
        affine(torch.ones(4, 6), torch.ones(6))
    for _ in range(20):
        result = affine(torch.ones(4, 6), torch.ones(6))
        assert not result.is_inference()


@pytest.mark.parametrize("given", [BASE, BASE.t().contiguous().t()], ids=["plain", "copied"])
def test_results_are_on_the_cpu_whatever_the_default_device(affine, given):
    with torch.device("meta"):
        result = affine(given, LAYOUTS["torch"][0])
    assert torch.equal(result, given * 2 + BASE[0])


def test_every_call_is_checked(affine):
    y = torch.ones(6)
    expected = affine(BASE, y)
    others = BASE.numpy().astype(np.float64), "x", torch.zeros(4, 6, device="meta")
    for wrong in (BASE[:3], BASE.flatten(), BASE[:0], BASE.double(), *others):
        with pytest.raises(InputError, match="call: input"):
            affine(wrong, y)
        assert torch.equal(affine(BASE, y), expected)


def test_a_fixed_value_is_checked_in_every_call():
    program = sparsecomp.compile(net(lambda net, x, scale: x * scale), "native", (torch.ones(3), 2))
    for _ in range(2):
        assert torch.equal(program(torch.ones(3), 2), torch.full((3,), 2.0))
        with pytest.raises(InputError, match="was fixed to 2"):
            program(torch.ones(3), 3)


def test_inputs_are_not_written(affine):
    x, y = BASE.clone(), torch.ones(6)
    affine(x, y)
    assert torch.equal(x, BASE)
    assert torch.equal(y, torch.ones(6))


def test_results_outlive_later_calls(affine):
    first = affine(BASE, torch.ones(6))
    kept = first.clone()
    for shift in range(5):
        affine(BASE, torch.full((6,), float(shift)))
    assert torch.equal(first, kept)


def test_results_can_be_written(affine):
    result = affine(BASE.numpy(), np.ones(6, np.float32))
    result += 1
    assert np.array_equal(affine(BASE.numpy(), np.ones(6, np.float32)), result - 1)
