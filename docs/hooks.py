"""What mkdocs does beyond its settings: pages of the repository's top folder, and links that leave docs/.

A link to a file of the repository that is no page of the site becomes plain text. A link that leads nowhere stays as
it is, and `mkdocs build --strict` fails on it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

TOP_PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the top folder, and their names in the site."""
BOOST = {"questions": 3.0, "results": 0.3, "design": 0.3, "changelog": 0.1, "api": 0.5}
"""What the search shows first, by the beginning of a page's name; other pages have 1. Pages of figures and of reasons
hold every word of the field, and would hide the page that answers."""
LINK_OR_CODE = re.compile(r"^```.*?^```|(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", re.MULTILINE | re.DOTALL)

TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
HEAD = re.compile(r"<th\b[^>]*>(.*?)</th>", re.DOTALL)
ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top folder."""
    top = Path(config.config_file_path).parent
    for name, page in TOP_PAGES.items():
        files.append(File.generated(config, page, content=(top / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Turn the links of a page into links within the site, and say where the search shows it."""
    page.meta["search"] = {"boost": BOOST.get(page.file.name.partition("-")[0], 1.0)}
    top, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    in_top = {name: place for place, name in TOP_PAGES.items()}
    folder = top if page.file.src_uri in in_top else (docs / page.file.src_uri).parent

    def rewrite(found: re.Match[str]) -> str:
        image, text, link = found.groups()
        if link is None or re.match(r"[a-z]+:|#", link):
            return found[0]
        target, _, anchor = link.partition("#")
        path = Path(os.path.normpath(folder / target))
        name = TOP_PAGES.get(str(path.relative_to(top))) if path.is_relative_to(top) else None
        if name is None and path.is_relative_to(docs):
            name = path.relative_to(docs).as_posix()
        if name is not None:
            return f"{image}[{text}]({name}{'#' if anchor else ''}{anchor})"
        return text if path.exists() else found[0]

    return LINK_OR_CODE.sub(rewrite, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Write the head of its column on each cell of a table; assets/site.css shows it on phones."""
    return TABLE.sub(lambda table: label_cells(table[0]), html)


def label_cells(table: str) -> str:
    """Give each cell of a table the text of its column's head as `data-label`.

    Examples
    --------
    >>> label_cells("<table><tr><th>Unit</th></tr><tr><td>mm</td></tr></table>")
    '<table><tr><th>Unit</th></tr><tr><td data-label="Unit">mm</td></tr></table>'
    """
    heads = [TAG.sub("", head).replace('"', "&quot;").strip() for head in HEAD.findall(table)]

    def label_row(row: re.Match[str]) -> str:
        rest = iter(heads)
        return re.sub("<td", lambda _: f'<td data-label="{head}"' if (head := next(rest, "")) else "<td", row[0])

    return ROW.sub(label_row, table)
