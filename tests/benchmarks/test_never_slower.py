from benchmarks.never_slower import broken


def test_the_same_code_is_not_slower_than_itself() -> None:
    found = {
        "torch": 1.0,
        "ours": {"0.1": 1.2, "0.5": 1.2, "0.9": 1.04, "1.0": 1.0},
        "schedules": ["sparse", "dense", "sparse", "dense"],
    }
    assert broken(found) == ["density 0.1: 1.20 times the dense time"]


def test_dense_layers_are_held_against_pytorch() -> None:
    found = {"torch": 1.0, "ours": {"1.0": 1.2}, "schedules": ["dense"]}
    assert broken(found) == ["dense: 1.20 times PyTorch's time"]
