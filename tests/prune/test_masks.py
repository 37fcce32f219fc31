import os

import pytest
import torch
from torch import nn

from sparsecomp.errors import PruneError
from sparsecomp.prune.masks import apply_masks, bake_masks, load_masks, parametrize_masks
from sparsecomp.prune.run import prune_model, request


@pytest.fixture
def pruned():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    return prune_model(model, request(sparsity=0.5))


def zeros(model):
    return {name: (p == 0) for name, p in model.named_parameters()}


def train(model, owner=None):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (model(torch.randn(4, 8)) - 1).square().mean().backward()
        optimizer.step()


def test_masks_are_saved_and_applied_to_another_copy(pruned, tmp_path):
    pruned.save_masks(tmp_path / "masks.safetensors")
    masks = load_masks(tmp_path / "masks.safetensors")
    other = nn.Sequential(*(nn.Linear(8, 8) if i % 2 == 0 else nn.ReLU() for i in range(4)), nn.Linear(8, 2))
    before = {name: p.clone() for name, p in other.named_parameters()}
    result = apply_masks(other, masks)
    for name, mask in masks.items():
        torch.testing.assert_close(result.get_parameter(name), before[name] * mask)
        assert torch.equal(other.get_parameter(name), before[name])


def test_zeros_stay_zero_while_the_rest_is_trained(pruned):
    weights = {name: pruned.model.get_parameter(name).detach().clone() for name in pruned.masks}
    model = pruned.parametrize()
    train(model)
    plain = pruned.bake()
    assert type(plain[0]) is nn.Linear
    for name, mask in pruned.masks.items():
        now = plain.get_parameter(name)
        assert not bool(now[~mask].any())
        assert not torch.equal(now, weights[name])


def test_the_same_under_distributed_data_parallel(pruned):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        train(nn.parallel.DistributedDataParallel(pruned.parametrize()))
    finally:
        torch.distributed.destroy_process_group()
    plain = pruned.bake()
    assert all(not bool(plain.get_parameter(name)[~mask].any()) for name, mask in pruned.masks.items())


def test_weights_that_modules_share_stay_shared():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    parametrize_masks(model, {"0.weight": torch.eye(4, dtype=torch.bool)})
    assert len([p for p in model.parameters() if p.dim() == 2]) == 1
    assert torch.equal(model[0].weight, model[1].weight)
    assert int((bake_masks(model)[1].weight != 0).sum()) == 4


def test_masks_that_do_not_fit(pruned, tmp_path):
    with pytest.raises(PruneError, match="no such parameter"):
        apply_masks(nn.Sequential(nn.Linear(8, 8)), pruned.masks)
    with pytest.raises(PruneError, match="shape"):
        apply_masks(nn.Sequential(nn.Linear(8, 4)), {"0.weight": torch.ones(8, 8, dtype=torch.bool)})
    (tmp_path / "other").write_bytes(b"something else")
    with pytest.raises(PruneError, match="safetensors"):
        load_masks(tmp_path / "other")


def test_a_dry_run_has_nothing_to_train():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    before = list(model.state_dict())
    with pytest.raises(PruneError, match="dry run"):
        prune_model(model, request(sparsity=0.5), dry_run=True).parametrize()
    assert list(model.state_dict()) == before
