"""Results as JSON, CSV and Markdown say the same."""

import csv
import io
import json
import math

import pytest

from mambairv2.evaluation.evaluate import Result, Score, mean
from mambairv2.evaluation.protocol import Protocol
from mambairv2.evaluation.report import to_csv, to_json, to_markdown

SCORES = [Score("a", 30.0, 0.9, 28.0, 0.8, 1.5), Score("b", 34.0, 0.94, 30.0, 0.9, 0.5)]
ONE = Result("One", Protocol("sr", 2), SCORES, {"MambaIRv2-light": (38.26, 0.9615)})
TWO = Result("Two", Protocol("sr", 2), SCORES[:1], {})


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_reports_agree():
    data = json.loads(to_json([ONE, TWO], {"weights": "mine"}))
    assert data["weights"] == "mine"
    assert [(r["set"], len(r["images"])) for r in data["results"]] == [("One", 2), ("Two", 1)]
    assert data["results"][0]["mean"]["psnr"] == 32
    lines = list(csv.DictReader(io.StringIO(to_csv([ONE, TWO]))))
    assert [line["image"] for line in lines] == ["a", "b", "mean", "a", "mean"]
    assert float(lines[2]["psnr"]) == pytest.approx(data["results"][0]["mean"]["psnr"])
    rows = cells(to_markdown([ONE, TWO], "Title"))
    assert rows[0] == ["set", "images", "ours", "bicubic", "gain", "MambaIRv2-light"]
    assert rows[2] == ["One", "2", "32.00 / 0.9200", "29.00 / 0.8500", "+3.00", "38.26 / 0.9615"]
    assert rows[3] == ["Two", "1", "30.00 / 0.9000", "28.00 / 0.8000", "+2.00", ""]
    assert ["b", "34.00 / 0.9400", "30.00 / 0.9000", "+4.00", "0.5"] in rows


def test_the_baseline_alone_has_no_figures_of_ours():
    alone = Result("One", Protocol("denoise", level=25), SCORES, {}, restored=False)
    rows = cells(to_markdown([alone], "Baseline"))
    assert rows[0] == ["set", "images", "noisy"]
    assert rows[2] == ["One", "2", "29.00 / 0.8500"]
    assert rows[3] == ["image", "noisy", "seconds"]


def test_the_mean():
    assert mean(SCORES) == Score("mean", 32.0, pytest.approx(0.92), 29.0, pytest.approx(0.85), 2.0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_json_has_no_number_that_is_none(value):
    """Two equal images have an infinite PSNR; JSON has no word for it."""
    result = Result("One", Protocol("sr", 2), [Score("a", value, 1.0, 28.0, 0.8, 1.5)], {"other": (value, None)})

    def refuse(name):
        raise AssertionError(name)

    (found,) = json.loads(to_json([result], {"about": [value]}), parse_constant=refuse)["results"]
    assert found["mean"]["psnr"] is found["images"][0]["psnr"] is None
    assert found["published"] == {"other": [None, None]}
    assert found["mean"]["base_psnr"] == 28
