"""A run over a folder says which files it left out, and formats that are not supported are told before any work."""

import io

import pytest
from PIL import Image
from typer.testing import CliRunner

from mambairv2.cli.main import app
from stand_in import pixels


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    for name in ("a.png", "b.bmp", "c.ppm", "d.jfif"):
        Image.fromarray(pixels(8, 8, 3)).save(place / name, "JPEG" if name == "d.jfif" else None)
    return place


def restore(*arguments):
    return CliRunner().invoke(app, ["restore", *map(str, arguments)])


def test_a_folder_run_says_what_it_left_out(folder, tmp_path):
    (folder / "no_suffix").write_bytes((folder / "a.png").read_bytes())
    (folder / "notes.txt").write_text("not a picture")
    (folder / "more.txt").write_text("not a picture")
    (folder / ".hidden.txt").write_text("not a picture")
    result = restore(folder, "-o", tmp_path / "out", "--task", "denoise")
    assert result.exit_code == 0
    assert "note: 3 files left out, not images by name: 2 .txt, 1 without suffix; to restore" in result.stdout
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name for name in names if "manifest" not in name] == ["a.png", "b.png", "c.png", "d.jfif"]
    with Image.open(tmp_path / "out" / "d.jfif") as image:
        assert image.format == "JPEG"


def test_nothing_left_out_is_not_told(folder, tmp_path):
    assert "left out" not in restore(folder, "-o", tmp_path / "out", "--task", "denoise").output


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"\xff\x0a" + bytes(40), "JPEG XL"), (b"8BPS\0\1" + bytes(60), "Photoshop"), (None, "JPEG 2000")],
)
def test_a_format_that_is_not_supported_is_told_before_the_output_is_looked_at(tmp_path, content, kind):
    if content is None:
        out = io.BytesIO()
        Image.fromarray(pixels(8, 8, 3)).save(out, "JPEG2000")
        content = out.getvalue()
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "o.png").write_bytes(b"there already")
    result = restore(tmp_path / "a.png", "-o", tmp_path / "o.png")
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"error: {tmp_path / 'a.png'}: is a {kind} file, which is not supported; convert it to PNG or TIFF\n"
    )
    assert (tmp_path / "o.png").read_bytes() == b"there already"
