"""The real scans of `../shared/real`: which, of whom, in which contrast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume

REAL = Path("../shared/real")


@dataclass(frozen=True)
class RealScan:
    """One scan: data set, person (unique among all data sets), contrast and file."""

    dataset: str
    person: str
    contrast: str
    path: Path

    @property
    def name(self) -> str:
        """Data set, person, date where there are several, contrast."""
        folder = self.path.parent.name
        date = folder if folder.startswith("ses-") else self.path.name[:6] if self.dataset == "open_ms" else ""
        return " ".join(part for part in (self.person, date, self.contrast) if part)

    def read(self) -> Volume:
        """Read the file."""
        return volume.read_volume(self.path)


def list_real_scans(folder: Path = REAL) -> list[RealScan]:
    """All scans of heads of the five data sets, in the order of their names."""
    found = []
    for path in sorted(folder.glob("open_ms/*/study*_*W.nii.gz")) + sorted(
        folder.glob("open_ms/*/study*_FLAIR.nii.gz")
    ):
        word = {"T1W": "T1w", "T2W": "T2w", "FLAIR": "FLAIR"}[path.name.split("_")[1].removesuffix(".nii.gz")]
        found.append(RealScan("open_ms", f"open_ms-{path.parent.name[-2:]}", word, path))
    for path in sorted(folder.glob("brain_tumor_progression/*/*/T1post.nii.gz")):
        person = f"tumour-{path.parents[1].name[4:]}"
        found.append(RealScan("brain_tumor_progression", person, "T1wCE", path))
    for path in sorted(folder.glob("ds000011/*/*.nii.gz")):
        word = "T1w" if "T1w" in path.name else "T2w"
        found.append(RealScan("ds000011", f"ds000011-{path.parent.name[4:]}", word, path))
    for path in sorted(folder.glob("ds002748/*.nii.gz")):
        found.append(RealScan("ds002748", f"ds002748-{path.name[4:6]}", "T1w", path))
    for path in sorted(folder.glob("ixi_2mm/*.nii.gz")):
        found.append(RealScan("ixi_2mm", path.name[:6], "T1w", path))
    return found
