"""Reports validate against the schema that the package ships."""

import json
from importlib.resources import files

import jsonschema
import pytest

import sparsecomp
from sparsecomp.report import Report
from tests.inspect.models import compiled, inputs, model

SCHEMA = json.loads(files("sparsecomp.inspect").joinpath("report.schema.json").read_text())


def check(report):
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report.to_dict())))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_compile():
    check(compiled().report)


def test_a_compile_with_a_profile():
    check(compiled().report.with_profile(compiled().profile(*inputs(), runs=1)))


def test_a_model():
    check(sparsecomp.inspect(model(), inputs()))


def test_every_entry_is_described_and_no_other():
    assert set(SCHEMA["properties"]) == set(compiled().report.to_dict()) == set(SCHEMA["required"])


def test_it_can_fail():
    with pytest.raises(jsonschema.ValidationError):
        check(Report("Net", "native", "()", (), {}, 0, 0, layers=({"layer": "a"},)))
