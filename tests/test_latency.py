import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp import latency, stopwatch
from sparsecomp.errors import PruneError, TargetError
from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import ConvProblem, Epilogue, LinearProblem
from sparsecomp.latency import LEVELS, Option, allocate, next_setting, options_of
from sparsecomp.layer_times import fast_pattern, layer_seconds, problems_of, stats_of
from sparsecomp.prune.data import Batch
from sparsecomp.prune.patterns import Block, parse_pattern
from sparsecomp.prune.run import prepare, request
from sparsecomp.targets import available, obstacle, resolve
from sparsecomp.tune.keys import key_of
from sparsecomp.tune.records import Records

TARGET = resolve("x86-64-v3")
X = torch.randn(64, 256)


@pytest.fixture
def model():
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, 8)).eval()


@pytest.fixture
def simulated(monkeypatch):
    """Measurements that a formula gives: what is predicted for the zeros that there are, three times, and 0.05 ms."""

    def measure(candidate, example, target):
        weights = [module.weight.detach() for module in candidate.modules() if isinstance(module, nn.Linear)]
        problems = [LinearProblem(len(example.args[0]), w.shape[1], w.shape[0]) for w in weights]
        seconds = [layer_seconds(p, WeightStats.of(w.numpy()), TARGET) for p, w in zip(problems, weights, strict=True)]
        return 3e3 * sum(seconds) + 0.05

    class Stopwatch:
        def __init__(self, dense, example, target):
            self.dense_ms = measure(dense, example, target)
            self.measure = lambda candidate, goal: measure(candidate, example, target)

    monkeypatch.setattr(latency, "Stopwatch", Stopwatch)
    monkeypatch.setattr(latency, "obstacle", lambda target: None)
    return measure


@pytest.mark.parametrize("pattern", ["block4x1", "unstructured"])
@pytest.mark.parametrize("speedup", [1.5, 2.0])
def test_the_goal_is_met(model, simulated, pattern, speedup):
    dense = simulated(model, Batch((X,)), TARGET)
    found = sparsecomp.prune(model, (X,), speedup=speedup, pattern=pattern, target=TARGET)
    reached = simulated(found.model, Batch((X,)), TARGET)
    assert reached == pytest.approx(dense / speedup, rel=0.05)
    assert found.report.expected["ms_pruned"] == reached


def test_a_machine_that_changes_its_speed_does_not_matter(model, monkeypatch):
    now, slowness = 0.0, 1.0

    def call(milliseconds):
        def run():
            nonlocal now, slowness
            now, slowness = now + slowness * milliseconds / 1e3, slowness * 1.02

        return run

    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now)
    monkeypatch.setattr(stopwatch.Stopwatch, "_compiled", lambda self, model: call(8 if model is dense else 4))
    dense = model
    watch = stopwatch.Stopwatch(dense, Batch((X,)), TARGET)
    assert watch.measure(nn.Identity(), watch.dense_ms / 8) == pytest.approx(watch.dense_ms / 2, rel=0.1)


def test_what_is_close_to_the_goal_is_measured_for_longer(model, monkeypatch):
    turns = []
    monkeypatch.setattr(
        stopwatch, "in_turns", lambda *calls: turns.append(calls) or [[6.0 - len(calls)] for _ in calls]
    )
    watch = stopwatch.Stopwatch(model, Batch((X,)), TARGET)
    spent = []
    for goal in (watch.dense_ms / 2, watch.dense_ms):
        turns.clear()
        watch.measure(model, goal)
        spent.append(len(turns))
    assert spent == [1, 5]


def test_a_goal_that_is_met_already_costs_nothing(model, simulated):
    found = sparsecomp.prune(model, (X,), latency_ms=1e6, target=TARGET)
    assert all(torch.equal(p, q) for p, q in zip(found.model.parameters(), model.parameters(), strict=True))


def test_a_goal_out_of_reach_says_what_was_reached(model, simulated):
    with pytest.raises(PruneError, match=r"cannot be met: the fastest measured is \d"):
        sparsecomp.prune(model, (X,), latency_ms=0.01, target=TARGET)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"speedup": 2, "sparsity": 0.5}, "one of sparsity"),
        ({"speedup": -1}, "above 0"),
        ({"speedup": 2, "pattern": "2:4"}, "one sparsity only"),
    ],
)
def test_wrong_goals(model, simulated, wanted, message):
    with pytest.raises(PruneError, match=message):
        sparsecomp.prune(model, (X,), target=TARGET, **wanted)


def test_inputs_are_needed(model, simulated):
    with pytest.raises(PruneError, match="needs args"):
        sparsecomp.prune(model, speedup=2, target=TARGET)


def test_another_machine_is_not_measured(model):
    foreign = next(target for target in available() if obstacle(target))
    with pytest.raises(TargetError, match="does not run here"):
        sparsecomp.prune(model, (X,), speedup=2, target=foreign)


def test_allocation_takes_zeros_where_they_cost_least():
    options = {
        "cheap": [Option(0.0, 0.0, 10.0), Option(0.5, 0.1, 6.0), Option(0.9, 0.3, 2.0)],
        "dear": [Option(0.0, 0.0, 10.0), Option(0.5, 0.4, 6.0), Option(0.9, 0.9, 2.0)],
        "useless": [Option(0.0, 0.0, 5.0), Option(0.5, 0.1, 5.0), Option(0.9, 0.2, 5.0)],
    }
    assert allocate(options, 25) == {"cheap": 0.0, "dear": 0.0, "useless": 0.0}
    assert allocate(options, 17) == {"cheap": 0.9, "dear": 0.0, "useless": 0.0}
    assert allocate(options, 9) == {"cheap": 0.9, "dear": 0.9, "useless": 0.0}


def test_settings_are_interpolated_between_measured_ones():
    assert next_setting([(1.0, 10.0), (0.2, 4.0)], 7.0) == pytest.approx(0.6)
    assert next_setting([(1.0, 10.0), (0.5, 8.0)], 6.0) < 0.1
    assert 0 <= next_setting([(1.0, 10.0)], 5.0) < 1


def test_blocks_are_as_full_to_kernels_of_their_height():
    assert stats_of(Block(4, 1), 0.2).stored == pytest.approx((0.2, 0.2, 0.2, 0.36))
    assert stats_of(Block(), 0.2) == WeightStats.unstructured(0.2)


def test_auto_is_the_finest_pattern_that_is_nearly_the_fastest(model):
    rows = parse_pattern(fast_pattern(TARGET, 0.9)).rows
    problem = LinearProblem(128, 768, 768)
    seconds = {r: layer_seconds(problem, stats_of(Block(r, 1), 0.1), TARGET) for r in (1, 2, 4, 8)}
    assert seconds[rows] <= 1.15 * min(seconds.values())
    assert all(seconds[r] > 1.15 * min(seconds.values()) for r in seconds if r < rows)
    assert sparsecomp.prune(model, sparsity=0.9, pattern="auto", target=TARGET).report.pattern == Block(rows, 1).name


def test_problems_are_those_of_the_layers():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(2), nn.Linear(9, 4)).eval()
    example = Batch((torch.randn(2, 3, 10, 10),))
    task, _ = prepare(model, request(example.args, sparsity=0.5))
    assert problems_of(task, example) == {
        "0.weight": [ConvProblem(2, 3, 8, 10, 10, (3, 3), (2, 2), (1, 1, 1, 1))],
        "3.weight": [LinearProblem(16, 9, 4)],
    }


def test_times_on_record_come_before_predictions(model, tmp_path, monkeypatch):
    """Layers are given the time that tuning measured where it did."""
    monkeypatch.setenv("SPARSECOMP_RECORDS", str(tmp_path / "records.sqlite"))
    wanted = request((X,), sparsity=0.5)
    task, _ = prepare(model, wanted)
    predicted = options_of(task, wanted, TARGET)["0.weight"]
    stats = stats_of(Block(), 1 - LEVELS[7])
    with Records(tmp_path / "records.sqlite", write=True) as records:
        key = key_of(TARGET, LinearProblem(64, 256, 256, Epilogue(bias=True)), (64, 256), stats)
        records.add(key, "a schedule", seconds=1.0)
    known = options_of(task, wanted, TARGET)
    assert [option.seconds for option in known["0.weight"]] == [
        1.0 if index == 7 else option.seconds for index, option in enumerate(predicted)
    ]
    assert known["4.weight"][7].seconds == 1.0  # of the same shape
    assert known["6.weight"][7].seconds < 1.0


def test_a_latency_leaves_no_room_for_a_budget(model, simulated):
    with pytest.raises(PruneError, match="leave budget away"):
        sparsecomp.prune(model, (X,), speedup=2, budget="erk", target=TARGET)


@pytest.mark.parametrize(("pattern", "kept"), [("channels/auto", 64), ("channels/16", 64), ("channels", 51)])
def test_slices_fill_vectors_where_that_is_asked_for(pattern, kept):
    model = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 8)).eval()
    found = sparsecomp.prune(model, (torch.randn(2, 32),), sparsity=0.6, pattern=pattern, target="x86-64-v4")
    assert int(found.model[0].weight.any(dim=1).sum()) == kept
