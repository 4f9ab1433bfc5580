"""Pages of the site that lie elsewhere in the repository, and links that work on GitHub and in the site.

MkDocs calls `on_files` and `on_page_markdown` by their names (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
CARDS = sorted((ROOT / "src/mambairv2/pretrained").glob("*.md"))
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "kernels.md": "csrc/README.md",
    "security.md": "SECURITY.md",
    **{f"models/{card.name}": card.relative_to(ROOT).as_posix() for card in CARDS},
}
"""Page of the site → file of the repository."""
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    return LINK.sub(lambda m: m[1] + site_link(page.file.src_uri, m[2]) + m[3], markdown)


def site_link(page: str, target: str) -> str:
    """Return a relative link of the repository as one of the site; one that the site does not have stays.

    page: path of the page in the site, such as `models/sr-x2.md`. target: as written in the page's source.
    """
    source = ELSEWHERE.get(page, f"docs/{page}")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    pages = {origin: uri for uri, origin in ELSEWHERE.items()}
    if file in pages:
        uri = pages[file]
    elif file.startswith("docs/"):
        uri = file.removeprefix("docs/")
    else:
        return target
    return posixpath.relpath(uri, posixpath.dirname(page) or ".")
