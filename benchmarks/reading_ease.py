"""How long the sentences of the documentation are: `python -m benchmarks.reading_ease`.

Words of running text and lists count; headings, tables, code and pictures do not. Inline code counts as one word.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LEFT_OUT = re.compile(r"^(#|\||!\[|    |<|::: )")
ITEM = re.compile(r"^\s*([-*]|\d+\.)\s+")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
END = re.compile(r"(?<=[.!?:])[*_)\"]*\s+(?=[A-Z\"`*(\[])|(?<=[.!?])$")
"""Where a sentence ends. A colon before a capital begins a new one; a decimal point or an abbreviation does not."""


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a Markdown text.

    Examples
    --------
    >>> split_sentences("# Title\\n\\nOne of\\ntwo. And `a b`.\\n\\n- An item\\n- Another. It ends.\\n")
    ['One of two.', 'And Code.', 'An item', 'Another.', 'It ends.']
    """
    blocks: list[str] = []
    joined = False
    for line in FENCED.sub("", text).splitlines():
        if not line.strip() or LEFT_OUT.match(line):
            joined = False
            continue
        if joined and not ITEM.match(line):
            blocks[-1] += f" {line.strip()}"
        else:
            blocks.append(ITEM.sub("", line.strip()))
        joined = True
    plain = [re.sub(r"`[^`]*`", "Code", LINK.sub(r"\1", block)) for block in blocks]
    return [one.strip() for block in plain for one in END.split(block) if one and one.strip()]


def measure_mean_words(page: Path) -> float:
    """Measure how many words a sentence of a page has on average."""
    sentences = split_sentences(page.read_text(encoding="utf-8"))
    return sum(len(one.split()) for one in sentences) / max(len(sentences), 1)


def main() -> None:
    """Print the figures of every page, the hardest first."""
    pages = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=measure_mean_words, reverse=True)
    print("words  longest  page")
    for page in pages:
        longest = max((len(one.split()) for one in split_sentences(page.read_text(encoding="utf-8"))), default=0)
        print(f"{measure_mean_words(page):5.1f}  {longest:7d}  {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
