"""The package of docs/plugins.md, written outside the tree as its readers would write it."""

from __future__ import annotations

import re
from pathlib import Path

from tests import documentation
from tests.commands import ROOT

PAGE = ROOT / "docs" / "plugins.md"
FILE = re.compile(r"# (my_plugins/\w+\.py)\n")
VERSION = "1.2"
NAMES = {
    "encoders": "my_plugins.encoders:SmallEncoder",
    "losses": "my_plugins.losses:SoftMargin",
    "transforms": "my_plugins.transforms:vary_gain",
    "detectors": "my_plugins.detectors:local_difference",
    "registrations": "my_plugins.registrations:register_by_differences",
    "reasons": "my_plugins.reasons:LabelMap",
}


def write_package(folder: Path) -> Path:
    """Write the modules of the page below `folder`; returns `folder`, which has to be on the path."""
    for block in documentation.blocks(PAGE, "python"):
        if named := FILE.match(block):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
    (folder / "my_plugins" / "__init__.py").touch()
    return folder


def declare_entry_points(folder: Path, version: str = VERSION) -> None:
    """What an installer leaves beside a package, with an entry point of each kind: `my-detectors` and so on."""
    about = folder / "my_plugins-1.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-plugins\nVersion: {version}\n")
    (about / "top_level.txt").write_text("my_plugins\n")
    lines = [f"[siamese_med.{group}]\nmy-{group} = {target}\n" for group, target in NAMES.items()]
    (about / "entry_points.txt").write_text("\n".join(lines))


def whole_config() -> str:
    """The configuration of the page that names a plug-in of each kind, as TOML."""
    return next(block for block in documentation.blocks(PAGE, "toml") if "[score]" in block)
