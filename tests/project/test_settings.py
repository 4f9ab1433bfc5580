"""The files that no test runs: workflows, forms, hooks and pins can at least be read and agree with each other."""

import re
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]
OTHERS = [ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff", ROOT / "mkdocs.yml"]
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def name_of(requirement):
    """The package that a requirement or a pin names, spelt one way."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.mark.parametrize("path", [*GITHUB.rglob("*.yml"), *OTHERS], ids=lambda path: path.name)
def test_yaml_is_valid(path):
    assert isinstance(read(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_what_runners_need(path):
    workflow = read(path)
    assert workflow[True]  # YAML reads the key `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.search(r"@(release/)?v\d", step.get("uses", "@v1"))


def test_the_platforms_are_those_that_are_promised():
    matrix = read(GITHUB / "workflows" / "tests.yml")["jobs"]["platforms"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={matrix['python'][0]}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_complete(path):
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    ids = [element["id"] for element in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(element["type"] in ("textarea", "input") and element["attributes"]["label"] for element in form["body"])


def test_the_citation_is_of_this_version():
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_every_requirement_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"].values()
    asked = {name_of(text) for group in (PROJECT["project"]["dependencies"], *extras) for text in group}
    asked |= {name_of(text) for text in PROJECT["build-system"]["requires"]}
    pinned = {name_of(line) for line in PINS if "==" in line and not line.startswith("#")}
    assert asked - pinned == {"mambairv2"}


def test_ci_installs_every_extra():
    extras = PROJECT["project"]["optional-dependencies"]
    found, new = set(), {"dev"}
    while new:
        found |= new
        mentions = (re.findall(r"mambairv2\[(.+)\]", text) for extra in new for text in extras[extra])
        new = {extra for mention in mentions for names in mention for extra in names.split(",")} - found
    assert found == set(extras)
