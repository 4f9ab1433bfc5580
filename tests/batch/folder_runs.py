"""Folders to restore and what a run left in them."""

import json

from stand_in import picture


def fill(folder, count):
    folder.mkdir()
    for number in range(count):
        picture(6 + number % 5, 8, 3).pngsave(str(folder / f"{number:03}.png"))


def lines(manifest, status):
    found = [json.loads(line) for line in manifest.read_text("utf-8").split("\n") if line]
    return [line for line in found if line["status"] == status]


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.jsonl"}


def stamps(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in outputs(folder)}
