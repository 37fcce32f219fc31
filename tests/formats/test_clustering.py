"""The order of rows that puts similar ones together."""

import numpy as np
import pytest

from sparsecomp.formats.clustering import cluster_rows


@pytest.mark.parametrize("rows", [0, 1, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_it_is_a_permutation(rows: int, size: int) -> None:
    weight = np.random.default_rng(rows).random((rows, 6)) < 0.5
    assert sorted(cluster_rows(weight, size)) == list(range(rows))


def test_runs_are_rows_with_the_same_columns() -> None:
    kinds = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    assert {tuple(sorted(run)) for run in cluster_rows(kinds, 2).reshape(-1, 2)} == {(0, 3), (1, 4), (2, 5)}
