"""Which inputs become which outputs."""

import pytest

from mambairv2.batch.jobs import BatchError, Naming, plan_batch


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
        (["a/x.png", "b/x.png"], Naming("out"), "a/x.png and b/x.png: would both become out/x.png"),
        (["x.heic", "x.gif"], Naming(), "would both become x_restored.png"),
        (["a.png", "b.png"], Naming("one.png"), "one file for several inputs"),
        (["photos"], Naming("photos"), "would replace an input"),
        (["photos/a.png"], Naming("photos/inner/../a.png"), "would replace an input"),
    ],
)
def test_outputs_that_collide_are_refused(photos, tmp_path, monkeypatch, inputs, naming, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BatchError, match=message):
        plan_batch(inputs, naming)


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
