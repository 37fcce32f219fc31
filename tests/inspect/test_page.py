"""The page as text: self-contained, the same twice, and strings of the user are data."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.errors import SparsecompError
from sparsecomp.inspect.page import LIBRARIES, PARTS, as_json, render, write_page
from tests.inspect.page_reports import HOSTILE, hostile_report, report


class Elements(HTMLParser):
    """The elements of a page, with attributes, and the text of scripts by id."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self._inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._inside = dict(attributes).get("id") if tag == "script" else None

    def handle_data(self, text):
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + text


def data_of(page):
    return json.loads(Elements(page).texts["data"])


def more_of(page):
    return json.loads(gzip.decompress(base64.b64decode(Elements(page).texts["more"])))


def test_nothing_is_loaded_from_elsewhere():
    page = render(report())
    assert not [attributes for _, attributes in Elements(page).found if {"src", "srcset", "data"} & attributes.keys()]
    assert all(value.startswith("#") for _, a in Elements(page).found if (value := a.get("href")) is not None)
    assert "@import" not in page and "url(" not in (PARTS / "style.css").read_text()


def test_the_policy_names_each_script_and_the_style_by_hash():
    page = render(report())
    policy = next(a["content"] for tag, a in Elements(page).found if tag == "meta" and "http-equiv" in a)
    blocks = re.findall(r"<script>(.*?)</script>", page, re.DOTALL) + re.findall(
        r"<style[^>]*>(.*?)</style>", page, re.DOTALL
    )
    assert len(blocks) == len(LIBRARIES) + 2
    for block in blocks:
        assert base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_same_report_gives_the_same_page():
    assert render(report()) == render(report())


def test_strings_of_the_user_add_no_element_and_arrive_unchanged():
    page = render(hostile_report())
    assert [tag for tag, _ in Elements(page).found] == [tag for tag, _ in Elements(render(report(len(HOSTILE)))).found]
    assert [row["layer"] for row in data_of(page)["layers"]] == list(HOSTILE)
    assert more_of(page)["texts"] == list(HOSTILE)


@given(st.text())
def test_json_in_the_page_has_no_character_that_ends_an_element(text):
    found = as_json({text: [text]})
    assert json.loads(found) == {text: [text]}
    assert not set("<>&\u2028\u2029") & set(found)


def test_what_is_no_number_is_null():
    assert as_json([float("nan"), float("inf"), 1.5]) == "[null,null,1.5]"


def test_equal_code_is_stored_once():
    assert more_of(render(report(6)))["texts"] == ["def main(x):\n    return x\n"]


def test_libraries_come_with_licence_and_version():
    page, readme = render(report()), (PARTS / "vendor" / "README.md").read_text()
    assert page.count("Permission is hereby granted, free of charge") >= len(LIBRARIES)
    assert all(f"`{name}.min.js`" in readme for name in LIBRARIES)


def test_a_report_without_layers_has_a_page():
    data = data_of(render(report(stages=[], layers=[], decisions=[], code={})))
    assert data["layers"] == [] and data["graph"]["slots"] == []


def test_the_file_is_utf8(tmp_path):
    write_page(hostile_report(), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render(hostile_report())


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(SparsecompError, match=r"to_html: cannot write .*nowhere"):
        write_page(report(), tmp_path / "nowhere" / "page.html")
