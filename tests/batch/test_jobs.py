"""Which inputs become which outputs."""

import pytest

from mambairv2.batch import collisions
from mambairv2.batch.jobs import plan_batch
from mambairv2.batch.naming import Naming
from mambairv2.batch.work_list import BatchError


@pytest.fixture
def photos(tmp_path):
    """A folder of three images and a subfolder with one more."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.png", "b.TIF", "bad.jpg", "notes.txt", "inner/c.jpg"):
        (folder / name).touch()
    return folder


def targets(*inputs, naming, **options):
    return [job.target for job in plan_batch(inputs, naming, **options).jobs]


def test_names_of_outputs(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = Naming(mark="_x2")
    assert targets("photos/a.png", naming=named) == ["photos/a_x2.png"]
    assert targets("x.heic", "y", naming=named) == ["x_x2.png", "y_x2.png"]
    assert targets("photos/a.png", naming=Naming("out/")) == ["out/a.png"]
    assert targets("photos/a.png", naming=Naming("new.webp")) == ["new.webp"]
    inner = ["out/a.png", "out/b.TIF", "out/bad.jpg", "out/inner/c.jpg"]
    assert targets("photos", naming=Naming("out"), recursive=True) == inner
    # An output folder inside the input folder is not taken for input.
    (photos / "out").mkdir()
    (photos / "out" / "old.png").touch()
    assert targets("photos", naming=Naming("photos/out"), recursive=True) == [f"photos/{name}" for name in inner]


@pytest.mark.parametrize(
    ("inputs", "naming", "message"),
    [
        (["a.png", "b.png"], Naming("one.png"), "one file for several inputs"),
        (["photos"], Naming("photos"), "would replace an input"),
        (["photos/a.png"], Naming("photos/inner/../a.png"), "would replace an input"),
    ],
)
def test_outputs_that_fit_no_input_are_refused(photos, tmp_path, monkeypatch, inputs, naming, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BatchError, match=message):
        plan_batch(inputs, naming)


@pytest.mark.parametrize(
    ("inputs", "naming", "made", "refused"),
    [
        (["a/x.png", "b/x.png", "c.png"], Naming("out"), ["out/x.png", "out/c.png"], ["b/x.png"]),
        (["x.gif", "x.png", "x.bmp"], Naming("o"), ["o/x_gif.png", "o/x.png", "o/x_bmp.png"], []),
        (["x.heic", "x.gif"], Naming(), ["x_restored.png", "x_restored_gif.png"], []),
        (["x.gif", "x.png", "x_gif.png"], Naming("o"), ["o/x.png", "o/x_gif.png"], ["x.gif"]),
        (["x.jpg", "x.png"], Naming("o", extension=".webp"), ["o/x.webp", "o/x_png.webp"], []),
        (["x.png", "photos/x.png", "y.gif"], Naming("photos"), ["photos/y.png"], ["x.png", "photos/x.png"]),
    ],
)
def test_one_collision_does_not_stop_the_others(photos, tmp_path, monkeypatch, inputs, naming, made, refused):
    monkeypatch.chdir(tmp_path)
    batch = plan_batch(inputs, naming)
    assert [job.target for job in batch.jobs] == made
    assert [one.job.source for one in batch.refused] == refused
    assert all("\n" not in one.error and "; " in one.error for one in batch.refused)


@pytest.mark.parametrize("name", ["A.png", "É.png", "STRASSE.png"])
def test_where_the_disk_ignores_case_two_names_are_one(tmp_path, monkeypatch, name):
    monkeypatch.setattr(collisions, "ignores_case", lambda folder: True)
    monkeypatch.setattr(collisions, "_SAME_CASE", {})
    monkeypatch.chdir(tmp_path)
    other = {"A.png": "a.png", "É.png": "E\u0301.png", "STRASSE.png": "straße.png"}[name]
    batch = plan_batch([f"p/{name}", f"q/{other}"], Naming("out"))
    assert [job.target for job in batch.jobs] == [f"out/{name}"]
    assert len(batch.refused) == 1


def test_patterns_keep_subfolders(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert targets("photos/**/*.jpg", naming=Naming("out")) == ["out/bad.jpg", "out/inner/c.jpg"]
    assert targets("photos/in*/*.jpg", naming=Naming("out")) == ["out/inner/c.jpg"]
    assert targets("photos/../photos/**/c.jpg", naming=Naming("out")) == ["out/inner/c.jpg"]
    assert targets(f"{tmp_path}/**/c.jpg", naming=Naming("out")) == ["out/photos/inner/c.jpg"]
    assert targets("photos/in*", naming=Naming("out")) == ["out/inner/c.jpg"]  # a folder that a pattern matched
    assert targets("photos/**/../bad.jpg", naming=Naming("out")) == ["out/bad.jpg"]
    assert targets("photos/inner/c.jpg", "photos/**/c.jpg", naming=Naming("out")) == ["out/c.jpg"]  # once


def test_outputs_of_an_earlier_run_are_no_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "a_x2.png", "b.png", "a_x2_x2.png"):
        (tmp_path / name).touch()
    for inputs in (["*.png"], ["a.png", "b.png", "a_x2.png", "a_x2_x2.png"], ["**/*.png"]):
        batch = plan_batch(inputs, Naming(mark="_x2"))
        assert [job.target for job in batch.jobs] == ["a_x2.png", "b_x2.png"]
        assert batch.keeps
        assert len(batch.earlier) == 2
    assert targets("a_x2.png", naming=Naming(mark="_x2")) == ["a_x2_x2.png"]
    assert targets(".", naming=Naming(".", suffix="_x2")) == ["./a_x2.png", "./b_x2.png"]


@pytest.mark.parametrize(
    ("inputs", "naming", "says"),
    [
        (["-", "a.png"], Naming("out"), "standard input is one image"),
        (["a.png", "b.png"], Naming("-"), "standard output takes one image"),
        (["photos"], Naming("-"), "standard output takes one image"),
        (["-"], Naming("photos"), "photos: is a folder; name a file"),
        (["-"], Naming("out/"), "out/: is a folder; name a file"),
        (["-"], Naming("x.gif"), "cannot write .gif"),
        (["-"], Naming("-", suffix="_x2"), "--suffix has no name"),
        (["a.png"], Naming("x.png", extension=".jpg"), "x.png: contradicts --format jpg"),
        (["-"], Naming("x.tif", extension=".webp"), "x.tif: contradicts --format webp"),
        (["a.png"], Naming("x.webp", extension=".png"), "x.webp: contradicts --format png"),
    ],
)
def test_streams_and_formats_that_do_not_fit_are_refused(photos, tmp_path, monkeypatch, inputs, naming, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BatchError, match=says):
        plan_batch(inputs, naming)


def test_the_same_format_by_two_names_is_no_contradiction():
    assert targets("a.png", naming=Naming("x.jpeg", extension=".jpg")) == ["x.jpeg"]
    assert targets("a.png", naming=Naming("x.TIFF", extension=".tif")) == ["x.TIFF"]


@pytest.mark.parametrize("output", ["one.bmp", "one.v2", "new/one.gif"])
def test_a_suffix_that_is_not_written_is_refused(output):
    with pytest.raises(BatchError, match=rf"{output}: cannot write \.\w+; choose one of \.png"):
        plan_batch(["a.png"], Naming(output))


def test_several_inputs_take_a_name_with_a_dot_for_a_folder():
    assert targets("a.png", "b.png", naming=Naming("results.v2")) == ["results.v2/a.png", "results.v2/b.png"]


def test_outputs_of_a_folder_lie_beside_it_under_its_own_name(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = Naming(mark="_x2")
    assert targets("photos/", naming=named)[0] == "photos_x2/a.png"
    assert targets("./photos/../photos", naming=named)[0] == "photos_x2/a.png"
    assert plan_batch(["photos"], named).folder == "photos_x2"
    monkeypatch.chdir(photos)
    assert targets(".", naming=named)[0] == str(tmp_path / "photos_x2" / "a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(photos)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert targets("link", naming=named)[0] == str(tmp_path / "photos_x2" / "a.png")
