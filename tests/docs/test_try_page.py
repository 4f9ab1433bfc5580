"""The page of the site that runs the network, in a real browser: it gives what the command line gives."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import pyvips
from typer.testing import CliRunner

from browser import chromium, serving, why_not
from documents import ROOT
from mambairv2.cli.main import app
from stand_in import picture

for needed in ("mkdocs", "onnx", "onnxruntime"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -c constraints.txt -e '.[dev]'")
if not shutil.which("npm"):
    pytest.skip("npm is not installed, which fetches ONNX Runtime for the web", allow_module_level=True)
if why_not():
    pytest.skip(why_not(), allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with serving(folder) as address:
        yield address


@pytest.fixture
def page(site):
    with chromium() as page:
        page.goto(f"{site}/try.html")
        yield page


def finished(page):
    page.wait_for_function("/ in [0-9.]+ s$/.test(document.getElementById('try-status').textContent)", timeout=240_000)


def choose(page, path, tile="64"):
    page.select_option("#try-tile", tile)
    page.set_input_files("#try-file", str(path))


def test_it_gives_what_the_command_line_gives(page, site, tmp_path):
    picture(70, 100, 3).pngsave(str(tmp_path / "photo.png"))
    choose(page, tmp_path / "photo.png")
    finished(page)
    with page.expect_download() as download:
        page.click("#try-download")
    assert download.value.suggested_filename == "photo_x2.png"
    download.value.save_as(tmp_path / "page.png")
    words = ["restore", "photo.png", "--task", "sr", "--tile", "64", "-o", "line.png"]
    ended = CliRunner().invoke(app, [str(tmp_path / w) if w.endswith(".png") else w for w in words])
    assert ended.exit_code == 0, ended.output
    found, expected = (
        pyvips.Image.new_from_file(str(tmp_path / name)).numpy()[..., :3].astype(int)
        for name in ("page.png", "line.png")
    )
    assert found.shape == (140, 200, 3)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-3
    assert all(url.startswith((site, "blob:", "data:")) for url in page.asked), page.asked


def test_the_slider_uncovers_the_result(page, tmp_path):
    picture(20, 30, 3).pngsave(str(tmp_path / "photo.png"))
    choose(page, tmp_path / "photo.png")
    finished(page)
    box = "document.getElementById('try-{}').getBoundingClientRect().width"
    assert page.evaluate(box.format("before")) == page.evaluate(box.format("after")) > 100
    for value in ("20", "80"):
        page.fill("#try-slider", value)
        assert f"{value}%" in page.evaluate("document.getElementById('try-after').style.clipPath")


def test_the_example_is_there(page):
    page.click("#try-example")
    page.wait_for_function("/tiles/.test(document.getElementById('try-status').textContent)", timeout=240_000)
    page.click("#try-cancel")


def test_transparency_is_kept(page, tmp_path):
    image = picture(20, 24, 3).bandjoin(pyvips.Image.black(24, 20) + 128).cast("uchar")
    image.pngsave(str(tmp_path / "glass.png"))
    choose(page, tmp_path / "glass.png")
    finished(page)
    with page.expect_download() as download:
        page.click("#try-download")
    download.value.save_as(tmp_path / "page.png")
    alpha = pyvips.Image.new_from_file(str(tmp_path / "page.png")).numpy()[..., 3]
    assert set(np.unique(alpha)) == {128}


@pytest.mark.parametrize(
    ("name", "said"),
    [("broken.png", "cannot read it"), ("words.txt", "cannot read it"), ("vast.png", "too large for a browser")],
)
def test_what_cannot_be_enlarged_is_told(page, tmp_path, name, said):
    if name == "vast.png":
        pyvips.Image.black(2001, 2000).pngsave(str(tmp_path / name))
    else:
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    page.set_input_files("#try-file", str(tmp_path / name))
    page.wait_for_function(f"document.getElementById('try-status').textContent.includes('{said}')")
    assert name in page.text_content("#try-status")
    assert page.is_hidden("#try-result")


def test_cancel_ends_it(page, tmp_path):
    picture(200, 300, 3).pngsave(str(tmp_path / "photo.png"))
    choose(page, tmp_path / "photo.png")
    page.click("#try-cancel")
    assert page.text_content("#try-status") == "Cancelled."
    page.wait_for_timeout(300)
    assert page.is_hidden("#try-result")
    assert page.text_content("#try-status") == "Cancelled."


def test_a_site_without_the_network_says_so(page):
    page.route("**/*.onnx", lambda route: route.abort())
    page.click("#try-example")
    page.wait_for_function("/did not work|could not be loaded/.test(document.getElementById('try-status').textContent)")
