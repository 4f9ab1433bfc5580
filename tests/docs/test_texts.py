"""What the documents say exists: links, files, options and names; and their form."""

from __future__ import annotations

import re

import pytest
import typer

from documents import DOCUMENTS, ROOT, blocks, command_blocks, commands, inline, name_of, prose
from mambairv2.cli.main import app
from mambairv2.network import attention, attentive_scan, feed_forward, model, reconstruction
from mambairv2.weights.published_names import to_ours

LINK = re.compile(r"\]\(([^)\s]+)\)")
OPTION = re.compile(r"--[a-z][a-z-]+")
OTHERS = {
    *("--standalone", "--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--master-port"),
    *("--extra-index-url", "--upgrade", "--build", "--find-links", "--only-binary", "--user", "--rm"),
    *("--app-dir", "--fail-with-body", "--data-binary"),
}
"""Options of torchrun, pip, cmake, docker, uvicorn and curl."""
SCRIPTS = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests" / f"{name}.py" for name in ("fuzz", "kills", "soak"))]
FOLDERS = (
    *("src/", "tests/", "benchmarks/", "csrc/", "recipes/", "examples/", "docs/"),
    *("batch/", "cli/", "files/", "images/", "network/", "ops/", "restoration/", "training/", "weights/"),
)
WIDTH = 100
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def command_options() -> dict[str, set[str]]:
    """Return the options of every command of ours, by its words."""
    found: dict[str, set[str]] = {}

    def walk(command, name):
        found[name] = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        for sub, other in getattr(command, "commands", {}).items():
            walk(other, f"{name} {sub}")

    walk(typer.main.get_command(app), "mambairv2")
    return found


OPTIONS = command_options()


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@documents
def test_links_lead_somewhere(document):
    for target in LINK.findall(prose(document)):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        other = (document.parent / path).resolve() if path else document
        assert other.exists(), target
        if anchor:
            assert anchor in {slug(line.lstrip("# ")) for line in prose(other).splitlines() if line.startswith("#")}


@documents
def test_files_that_are_named_exist(document):
    for code in inline(document):
        path = re.fullmatch(r"[\w./-]+", code)
        if path and code.startswith(FOLDERS) and "NAME" not in code:
            assert (ROOT / code).exists() or (ROOT / "src" / "mambairv2" / code).exists(), code


@documents
def test_options_that_are_named_exist(document):
    known = set().union(*OPTIONS.values()) | OTHERS
    known |= {option for script in SCRIPTS for option in OPTION.findall(script.read_text(encoding="utf-8"))}
    text = "\n".join([*inline(document), *(b.text for b in blocks(document) if b.language == "sh")])
    assert set(OPTION.findall(text)) <= known


def test_commands_have_the_options_that_they_are_given():
    for block in command_blocks():
        for words in commands(block):
            if words[0] == "mambairv2":
                name = max((n for n in OPTIONS if " ".join(words).startswith(n)), key=len)
                assert {w for w in words if w.startswith("-") and w != "-"} <= OPTIONS[name], words


def test_every_option_of_restore_is_in_the_documents():
    page = (ROOT / "docs" / "first-photo.md").read_text(encoding="utf-8")
    assert {o for o in OPTIONS["mambairv2 restore"] if o.startswith("--")} - {"--help"} <= set(OPTION.findall(page))


@documents
def test_code_is_fenced_and_says_its_language(document):
    assert all(block.language for block in blocks(document))
    assert not re.search(r"^\n {4}[^ :*-]", prose(document).replace("::: ", ""), re.MULTILINE)


@documents
def test_lines_are_short_or_one_sentence(document):
    for line in prose(document).splitlines():
        if len(line) > WIDTH and not line.startswith(("|", "[!", "!")):
            assert len(re.findall(r"[.:;?] (?=[A-Z])", line)) == 0, line


@documents
def test_tables_have_one_head_and_rows_as_wide(document):
    for table in re.findall(r"(?:^\|.*\n)+", prose(document), re.MULTILINE):
        rows = table.splitlines()
        assert [bool(re.fullmatch(r"[-:| ]*-[-:| ]*", row)) for row in rows] == [i == 1 for i in range(len(rows))], (
            rows[0]
        )
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, rows[0]


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_tables_of_the_network_name_what_there_is():
    page = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
    rooms = (model, attention, attentive_scan, feed_forward, reconstruction)
    section = page[page.index("## The figure") : page.index("## From image to image")]
    for name in re.findall(r"`([A-Z]\w+)`", section):
        assert any(hasattr(room, name) for room in rooms), name
    for name in re.findall(r"`(\w+\.py)`", section):
        assert (ROOT / "src" / "mambairv2" / "network" / name).exists(), name
    checked = 0
    for row in page[page.index("## Names in checkpoints") :].splitlines():
        cells = [cell.strip() for cell in row.split("|")][1:-1]
        if len(cells) == 2 and "`" in cells[0]:
            theirs, ours = (re.findall(r"`([^`]+)`", cell) for cell in cells)
            start = ("layers.3.residual_group.layers.4.", "groups.3.layers.4.") if "(block)" in cells[0] else ("", "")
            for published, name in zip(theirs, ours, strict=True):
                full = start[0] + published.replace("#", "3"), start[1] + name.replace("#", "3")
                assert list(to_ours({full[0]: 0})) == [full[1]]
                checked += 1
    assert checked >= 18
