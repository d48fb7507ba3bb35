"""Render a patient's page as a tagged PDF (PDF/UA-1) for an archive that accepts documents."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from siamese_med.errors import UsageError

DRAWING_STYLE_FILE = Path(__file__).parent / "templates" / "drawing.css"
"""Colours of charts and icons in print, where the page's own style sheet does not apply inside SVG."""

_IMAGE = re.compile(r'<image id="([^"]+)"([^>]*)/>')
_BORROWED = re.compile(r'<use href="#([^"]+)"/>')
_LATER = re.compile(r'<use class="second"[^>]*/>')
_SVG = re.compile(r"<svg[^>]*>")
_LABEL = re.compile(r'aria-label="([^"]*)"')


def render_pdf(html: str) -> bytes:
    """Render an HTML page as PDF; no file and no network address is read.

    Equal pages give equal bytes.

    Parameters
    ----------
    html
        Page made by `pages.render_printed_page`.

    Raises
    ------
    UsageError
        If the Pango library is not installed.
    """
    weasyprint = _weasyprint()
    alone = weasyprint.urls.URLFetcher(allowed_protocols=["data"])
    document = weasyprint.HTML(string=_self_contained(html), url_fetcher=alone)
    made: bytes = document.write_pdf(pdf_variant="pdf/ua-1")
    return made


def _weasyprint() -> Any:
    try:
        import weasyprint
    except OSError as error:
        raise UsageError("--pdf needs the Pango library: install libpango-1.0-0 and libpangoft2-1.0-0") from error
    return weasyprint


def _self_contained(html: str) -> str:
    """The page with every drawing whole in itself: a browser lets one SVG show an image of another, print does not."""
    images = dict(_IMAGE.findall(html))
    html = _LATER.sub("", html)
    html = _BORROWED.sub(lambda use: f"<image{images[use.group(1)]}/>", html)
    return _SVG.sub(_described, html)


def _described(svg: re.Match[str]) -> str:
    """The start of a drawing with its colours, and its label as the title, which becomes the PDF's alternative text."""
    label = _LABEL.search(svg.group(0))
    return f"{svg.group(0)}<title>{label.group(1) if label else 'symbol'}</title><style>{_drawing()}</style>"


@cache
def _drawing() -> str:
    return DRAWING_STYLE_FILE.read_text(encoding="utf-8")
