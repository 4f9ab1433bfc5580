"""The same command over a folder again: what is done, what is done again, and what is not replaced."""

import json

import pytest
import pyvips
from folder_runs import lines, outputs, stamps

from stand_in import picture


def test_the_same_command_does_nothing_twice(photos, tmp_path, run):
    out = tmp_path / "out"
    assert run(photos, "-o", out) == (0, "3 restored, 0 skipped, 0 failed", [])
    before = stamps(out)
    assert run(photos, "-o", out) == (0, "0 restored, 3 skipped, 0 failed", [])
    assert stamps(out) == before
    (out / "001.png").unlink()
    assert run(photos, "-o", out) == (0, "1 restored, 2 skipped, 0 failed", [])
    assert run(photos, "-o", out, "--fresh") == (0, "3 restored, 0 skipped, 0 failed", [])


def test_folder_and_manifest_can_be_moved(photos, tmp_path, run):
    run(photos, "-o", tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert run(photos, "-o", tmp_path / "elsewhere")[1] == "0 restored, 3 skipped, 0 failed"


def test_a_changed_input_is_restored_again(photos, tmp_path, run):
    out = tmp_path / "out"
    run(photos, "-o", out)
    before = outputs(out)
    picture(20, 20, 3).pngsave(str(photos / "001.png"))
    assert run(photos, "-o", out) == (0, "1 restored, 2 skipped, 0 failed", [])
    after = outputs(out)
    assert [name for name in after if after[name] != before[name]] == ["001.png"]


def test_an_output_that_somebody_changed_is_not_replaced(photos, tmp_path, run):
    run(photos, "-o", tmp_path / "out")
    (tmp_path / "out" / "001.png").write_bytes(b"retouched")
    code, _, errors = run(photos, "-o", tmp_path / "out")
    assert (code, len(errors)) == (2, 1)
    assert "001.png: already exists; pass --overwrite or --skip-existing" in errors[0]


def test_other_settings_replace_only_when_asked_and_are_not_taken_for_the_first(photos, tmp_path, run):
    """Uncompressed, so that outputs of either settings have the same size."""
    out = tmp_path / "out"
    plain = (photos, "-o", out, "--compression", "0")
    run(*plain)
    first = outputs(out)
    code, _, errors = run(*plain, "--self-ensemble")
    assert (code, len(errors), outputs(out)) == (2, 1, first)
    assert "already exists" in errors[0]
    assert run(*plain, "--self-ensemble", "--overwrite")[0] == 0
    other = outputs(out)
    assert [len(other[name]) for name in first] == [len(first[name]) for name in first]
    assert other != first
    assert run(*plain)[0] == 2
    assert run(*plain, "--self-ensemble")[1] == "0 restored, 3 skipped, 0 failed"
    assert outputs(out) == other


def test_what_a_version_without_a_margin_made_is_not_taken_for_ours(photos, tmp_path, run):
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    run(photos, "-o", out)
    text = manifest.read_text()
    assert text.count(', "margin": true') == 4  # of the run and of three files
    manifest.write_text(text.replace(', "margin": true', ""))
    code, _, errors = run(photos, "-o", out)
    assert (code, len(errors)) == (2, 1)
    assert "already exists; pass --overwrite or --skip-existing" in errors[0]
    assert run(photos, "-o", out, "--overwrite")[1] == "3 restored, 0 skipped, 0 failed"


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_an_output_replaced_before_a_kill_that_the_manifest_missed_is_ours(photos, tmp_path, run, fresh):
    """The kill comes between the output's renaming and its line; then the input changes once more."""
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    run(photos, "-o", out)
    picture(20, 20, 3).pngsave(str(photos / "001.png"))
    run(photos, "-o", out, *fresh)
    text = manifest.read_text().splitlines(keepends=True)
    assert [json.loads(line)["status"] for line in text][-1] == "done"
    last = max(number for number, line in enumerate(text) if '"done"' in line and "001.png" in line)
    manifest.write_text("".join(text[:last]))
    picture(30, 30, 3).pngsave(str(photos / "001.png"))
    code, _, errors = run(photos, "-o", out)
    assert (code, errors) == (0, [])
    assert pyvips.Image.new_from_file(str(out / "001.png")).height == 60


def test_what_is_retouched_after_a_run_that_did_not_replace_it_is_not_ours(photos, tmp_path, run):
    out = tmp_path / "out"
    run(photos, "-o", out)
    (photos / "001.png").write_text("no picture")
    assert run(photos, "-o", out)[0] == 1  # the output was begun, and is as it was
    picture(20, 20, 3).pngsave(str(photos / "001.png"))
    (out / "001.png").write_bytes(b"retouched")
    assert run(photos, "-o", out)[0] == 2
    assert (out / "001.png").read_bytes() == b"retouched"


def test_a_failed_file_is_tried_again(photos, tmp_path, run):
    out = tmp_path / "out"
    (photos / "bad.png").write_text("no picture")
    for restored in (3, 0):
        code, last, errors = run(photos, "-o", out)
        assert (code, last, len(errors)) == (1, f"{restored} restored, {3 - restored} skipped, 1 failed", 1)
    assert [line["output"] for line in lines(out / "manifest.jsonl", "failed")] == ["bad.png", "bad.png"]
    picture(5, 5, 3).pngsave(str(photos / "bad.png"))
    assert run(photos, "-o", out) == (0, "1 restored, 3 skipped, 0 failed", [])


def test_names_with_any_line_end(photos, tmp_path, run):
    for number, end in enumerate(("\u2028", "\x85", "\n", "\r", "\x0b")):
        (photos / "000.png").with_name(f"{number}{end}.png").write_bytes((photos / "000.png").read_bytes())
    assert run(photos, "-o", tmp_path / "out")[1] == "8 restored, 0 skipped, 0 failed"
    assert run(photos, "-o", tmp_path / "out")[1] == "0 restored, 8 skipped, 0 failed"
