"""The site's own code: links that work on GitHub and in the site, parameters as lists."""

from __future__ import annotations

import importlib.util

import pytest

from documents import ROOT
from mambairv2.installation import install_extra

for needed in ("mkdocs", "griffe"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: {install_extra('docs')}")


def site_module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "target", "expected"),
    [
        ("index.md", "first-photo.md", "first-photo.md"),
        ("index.md", "../CONTRIBUTING.md", "contributing.md"),
        ("api/recipes.md", "../training.md", "../training.md"),
        ("weights.md", "../src/mambairv2/pretrained/jpeg.md", "models/jpeg.md"),
        ("contributing.md", "docs/how-it-is-built.md", "how-it-is-built.md"),
        ("changelog.md", "CONTRIBUTING.md", "contributing.md"),
        ("models/jpeg.md", "../../../CONTRIBUTING.md", "../contributing.md"),
        ("index.md", "../LICENSE", "../LICENSE"),  # the site does not have it: the strict build says so
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(page, target, expected):
    assert site_module("hooks").site_link(page, target) == expected


def test_parameters_become_a_list():
    as_list = site_module("parameters").as_list
    text = "Scan.\n\nu, delta: (B, L).\nA: (D, N),\n  see u: no. Raises ValueError for\nothers.\n\nNot a: list."
    listed = "- **u, delta**: (B, L).\n- **A**: (D, N), see u: no."
    assert as_list(text, ["u", "delta", "A"]) == f"Scan.\n\n{listed}\n\nRaises ValueError for others.\n\nNot a: list."
    assert as_list(text, []) == text
