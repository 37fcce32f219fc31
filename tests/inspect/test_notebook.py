"""What notebooks show of compiled programs, pruned models and reports: tables in which user strings are text."""

from html.parser import HTMLParser

import pytest
import torch

import sparsecomp
from sparsecomp.inspect.notebook import MOST, prune_html, report_html
from sparsecomp.prune.result import LayerReport, PruneReport
from sparsecomp.runtime import Compiled
from sparsecomp.tune.report import LayerTuning, TuneReport
from tests.inspect.page_reports import HOSTILE, hostile_report, report

TAGS = {"p", "strong", "br", "table", "thead", "tbody", "tr", "th", "td", "div"}


class Parsed(HTMLParser):
    """Tags, attributes and text of a fragment."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data


def shown(fragment):
    parsed = Parsed(fragment)
    assert set(parsed.tags) <= TAGS and parsed.attributes <= {"style"}
    return parsed


def whole(found):
    """The rest of a `Report`."""
    return {**found, "nodes": 3, "weight_bytes": 2_000_000}


def test_a_report_is_a_row_a_layer():
    parsed = shown(report_html(whole(report(3))))
    assert parsed.tags.count("tr") == 1 + 3
    assert all(text in parsed.text for text in ("body.2", "64×64", "CSR", "relative error 1.5e-06"))


def test_hostile_strings_are_text():
    parsed = shown(report_html(whole(hostile_report())))
    assert all(text in parsed.text for text in HOSTILE if len(text) < 100 and "\x00" not in text)
    assert len(parsed.text) < 10_000


def test_a_long_table_says_how_much_is_left_out():
    parsed = shown(report_html(whole(report(MOST + 5))))
    assert parsed.tags.count("tr") == 1 + MOST and "and 5 more" in parsed.text


@pytest.mark.parametrize("text", HOSTILE[:3])
def test_reports_of_pruning_and_tuning_are_escaped(text):
    pruned = PruneReport(text, text, text, text, 0.5, (LayerReport(text, (2, 2), text, 0.5, text),), 4, 2, 1.0)
    tuned = TuneReport(text, text, 1.0, text, (LayerTuning((text,), text, 0.5, 1, 1, 0, (), 1e-3, 2e-3, 1e-3, text),))
    for each in (pruned, tuned):
        assert text in shown(each._repr_html_()).text


def test_a_pruned_model_shows_its_report():
    pruned = sparsecomp.prune(
        torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)), sparsity=0.5, exclude=()
    )
    assert pruned._repr_html_() == prune_html(pruned.report.to_dict(), str(pruned.report).splitlines()[0])
    assert shown(pruned._repr_html_()).tags.count("tr") == 3


def test_looking_at_a_program_does_not_compile_it():
    def make(args, kwargs):
        raise AssertionError("compiled")

    assert "first call" in shown(Compiled(make)._repr_html_()).text


def test_a_compiled_program_shows_its_layers():
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    compiled = sparsecomp.compile(model, "native", (torch.randn(2, 8),))
    parsed = shown(compiled._repr_html_())
    assert parsed.tags.count("tr") == 3 and "Sequential for native" in parsed.text
