"""A folder with a bad file: the others are restored."""

from mambairv2.restoration.restorer import Restorer
from restore_folder import restore_folder
from stand_in import StandIn, load, picture


def test_a_bad_file_is_told_and_the_others_are_restored(tmp_path, capsys):
    source, target = tmp_path / "photos", tmp_path / "large"
    source.mkdir()
    picture(9, 12, 3).pngsave(str(source / "a.png"))
    (source / "bad.jpg").write_text("no picture")
    (source / "notes.txt").write_text("no picture either")
    picture(6, 4, 4).webpsave(str(source / "c.webp"))
    written = restore_folder(Restorer(StandIn(), "cpu"), source, target)
    assert written == [target / "a.png", target / "c.webp"]
    assert load(target / "a.png").width == 24
    assert capsys.readouterr().err.startswith(f"error: {source / 'bad.jpg'}: is not an image")
