"""One rule for the files in folders: links are seen, loops end, each real folder is there once."""

import os

import pytest

from mambairv2.files.names import encoded, reserved_by_windows, shown
from mambairv2.files.walk import match, walk
from mambairv2.images.folders import list_images


@pytest.fixture
def tree(tmp_path):
    for name in ("top/real", "top/.hidden", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("top/1.png", "top/real/2.png", "top/.hidden/3.png", "top/._1.png", "elsewhere/deep/4.png"):
        (tmp_path / name).touch()
    return tmp_path / "top"


def test_a_linked_folder_is_seen(tree):
    (tree / "link").symlink_to(tree.parent / "elsewhere")
    (tree / "again").symlink_to(tree.parent / "elsewhere" / "deep")
    assert walk(str(tree)).files == ("1.png", "again/4.png", "real/2.png")
    assert walk(str(tree), recursive=False).files == ("1.png",)
    assert [str(path.relative_to(tree)) for path in list_images([tree])] == ["1.png", "again/4.png", "real/2.png"]


@pytest.mark.parametrize("where", ["loop", "real/loop", "real/up"])
def test_a_loop_ends_and_no_file_comes_twice(tree, where):
    (tree / where).symlink_to(tree if where != "real/up" else tree.parent)
    files = walk(str(tree)).files
    assert files[:2] == ("1.png", "real/2.png")
    assert len({os.path.realpath(tree / name) for name in files}) == len(files)
    assert [found.inner for found in match(f"{tree}/**/[12].png")] == ["1.png", "real/2.png"]


def test_many_loops_take_no_time(tree):
    for number in range(12):
        (tree / f"loop{number}").symlink_to(tree)
        (tree / "real" / f"loop{number}").symlink_to(tree)
    assert walk(str(tree)).files == ("1.png", "real/2.png")
    assert len(match(f"{tree}/**/*.png")) == 2


def test_a_real_folder_has_its_own_name_before_that_of_a_link(tree):
    (tree / "a_link").symlink_to(tree / "real")
    assert walk(str(tree)).files == ("1.png", "real/2.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_told(tree):
    (tree / "real").chmod(0)
    found = walk(str(tree))
    (tree / "real").chmod(0o755)
    assert [error.filename for error in found.errors] == [str(tree / "real")]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("日本.png", "日本.png"),
        ("a\nb.png", r"a\nb.png"),
        ("\x1b[31mred\x07.png", r"\x1b[31mred\x07.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
        ("half\ud800.png", r"half\ud800.png"),
        ("100%{}[x].png", "100%{}[x].png"),
    ],
)
def test_names_are_shown_in_a_line_that_no_terminal_obeys(name, seen):
    assert shown(name) == seen
    assert isinstance(encoded(name), bytes)


def test_a_name_goes_into_a_report_byte_for_byte():
    assert encoded(os.fsdecode(b"caf\xe9.png")) == b"caf\xe9.png"


@pytest.mark.parametrize(
    "name", ["CON", "con.png", "Com1.tif", "LPT9.jpg", "a:b.png", "a.png.", "a ", "NUL .png", 'q".png']
)
def test_names_that_windows_reserves(name):
    assert reserved_by_windows(name)


@pytest.mark.parametrize("name", ["console.png", "com.png", "com10.png", "a b.png", "日本.png", "-.png"])
def test_names_that_windows_allows(name):
    assert not reserved_by_windows(name)
