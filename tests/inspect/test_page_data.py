"""What the page shows is what the report says."""

from sparsecomp.inspect.page_data import page_data, summary
from tests.inspect.page_reports import report, row


def cards(found):
    return {card["name"]: card["value"] for card in summary(found)["cards"]}


def test_a_layer_is_drawn_where_its_call_is_in_every_stage():
    data = page_data(report(3))
    for at, layer in enumerate(data["layers"]):
        (slot,) = layer["slots"]
        views = data["graph"]["slots"][slot]
        assert [view["op"] for view in views] == [
            *["aten.linear.default"] * 3,
            "sparsecomp.linear.default",
            f"fused_linear_{at}",
        ]
        assert layer["decisions"] == [at]


def test_a_layer_that_is_gone_is_drawn_where_it_was():
    found = report(3)
    for view in found["stages"][3:]:
        view["nodes"] = [node for node in view["nodes"] if node["id"] != "linear_1"]
    found["layers"][1] = row(1, nodes=[])
    data = page_data(found)
    (slot,) = data["layers"][1]["slots"]
    assert data["graph"]["slots"][slot][0]["id"] == "linear_1" and data["graph"]["slots"][slot][4] is None


def test_the_summary_adds_layers_up():
    rows = [row(0, shape=[10, 10], density=0.5), row(1, shape=[10, 30], density=0.1, measured=4e-5)]
    found = cards(report(2, layers=rows))
    assert found["Layers run"] == f"{(2e-5 + 4e-5) / (1e-5 + 4e-5):.2f}×"
    assert found["Zeros"] == f"{100 * (1 - (50 + 30) / 400):.3g} %"
    assert found["Weights"] == "0.0328 → 0.012 MB"
    assert found["Removed"] == "4"


def test_layers_without_a_known_time_are_left_out_of_the_speed():
    rows = [row(0), row(1, predicted=None, dense_predicted=None)]
    assert cards(report(2, layers=rows))["Layers run"] == "2.00×"
    assert "Layers run" not in cards(report(1, layers=rows[1:]))


def test_the_title_says_when_nothing_was_verified():
    assert "not verified" in summary(report(relative_error=None))["about"]
    assert "12 operators became 6 kernels" in summary(report(6))["about"]
