"""Pictures of the pages for the documents, taken in a headless Chromium: docs/pictures/try.webp and web.webp.

python benchmarks/pictures_of_pages.py try --site build/site
python benchmarks/pictures_of_pages.py web
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pyvips

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import chromium, serving  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
PATIENCE = 600_000  # milliseconds


def keep(png: bytes, name: str) -> None:
    """Write a screenshot as WebP."""
    image = pyvips.Image.new_from_buffer(png, "")
    image[:3].webpsave(str(PICTURES / f"{name}.webp"), Q=80, strip=True)


def take_try(site: Path) -> None:
    """The page of the site, after the example."""
    with serving(site) as address, chromium() as page:
        page.goto(f"{address}/try.html")
        page.click("#try-example")
        page.wait_for_selector("#try-download[href]", timeout=PATIENCE)
        page.add_style_tag(content="#try-result ~ *, .md-header, .md-footer { display: none }")
        keep(page.locator("article").screenshot(), "try")


def take_web() -> None:
    """The page of `mambairv2 web`, after the example."""
    command = [sys.executable, "-m", "mambairv2.cli", "web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, chromium() as page:
        assert server.stdout is not None
        page.goto(server.stdout.readline().split()[0])
        page.click("#example")
        page.wait_for_function("document.querySelector('#files').textContent.includes('coffee')")
        page.click("#start")
        page.wait_for_selector("#results a[download]", timeout=PATIENCE)
        page.wait_for_selector("#slider img", timeout=PATIENCE)
        page.wait_for_timeout(2000)
        keep(page.screenshot(full_page=True), "web")
        server.send_signal(signal.SIGINT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", choices=["try", "web"])
    parser.add_argument("--site", type=Path, default=ROOT / "build" / "site")
    options = parser.parse_args()
    if options.page == "try":
        take_try(options.site)
    else:
        take_web()


if __name__ == "__main__":
    main()
