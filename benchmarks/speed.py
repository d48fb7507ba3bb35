"""Slices per second of ingest, side by side with dcm2niix, SimpleITK and dicom2nifti, and the floors below them.

All read one export (a folder a series) from the page cache, each in a fresh process, some times in turn; the medians
count. Ingest does all it does: hash, checks, pseudonyms, catalogue, NIfTI written. In the end its volumes are compared
with dcm2niix's: affine within 0.01 mm after RAS, mean within 0.1 %.

python -m benchmarks.speed --series 20 --slices 196 --repeats 3
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import large_export, processes
from benchmarks.processes import Spent
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume

MAX_AFFINE_MM = 0.01
MAX_MEAN_SHARE = 1e-3
NEEDS = {"simpleitk": "SimpleITK", "simpleitk_plain": "SimpleITK", "dicom2nifti": "dicom2nifti"}
TITLES = {
    "ours-1": "siamese-med ingest, 1 worker", "ours": "siamese-med ingest, all cores",
    "ours-1-nii": "siamese-med ingest, 1 worker, .nii", "dcm2niix -z y": "dcm2niix -z y",
    "dcm2niix -z n": "dcm2niix -z n", "simpleitk": "SimpleITK to .nii.gz", "simpleitk_plain": "SimpleITK to .nii",
    "dicom2nifti": "dicom2nifti to .nii.gz", "pydicom_read": "floor: pydicom reads all",
    "read_and_hash": "floor: read and SHA-256", "read": "floor: read",
}  # fmt: skip


def command(name: str, export: Path, out: Path) -> list[str]:
    """How to run one contestant into an empty folder."""
    if name.startswith("ours"):
        compress = not name.endswith("-nii")
        config = processes.settings(out / "settings", workers=int(name.startswith("ours-1")), compress=compress)
        return processes.ingest_command(export, out / "data", config)
    if name.startswith("dcm2niix"):
        return [*name.split(), "-d", "9", "-b", "y", "-f", "%j", "-o", str(out), str(export)]
    return [sys.executable, "-m", "benchmarks.converters", name, str(export), str(out)]


def there(name: str) -> bool:
    """Whether a contestant is installed."""
    if name.startswith("dcm2niix"):
        return shutil.which("dcm2niix") is not None
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


def race(names: Sequence[str], export: Path, folder: Path, repeats: int) -> dict[str, list[Spent]]:
    """Run all in turn, `repeats` times; one run of each before that is not counted."""
    spent: dict[str, list[Spent]] = defaultdict(list)
    for turn in range(repeats + 1):
        for name in names:
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            one = processes.spend(command(name, export, out))
            if one.code not in (0, 4):
                raise SystemExit(f"{name} ended with exit code {one.code}: {one.output[-2000:]}")
            spent[name] += [one] if turn else []
    return spent


def table(spent: dict[str, list[Spent]], slices: int) -> str:
    """Medians, one line a contestant; CPU against dcm2niix at the same compression."""
    floor = spent.get("dcm2niix -z y")
    lines = [f"{'':32}{'wall s':>8}{'CPU s':>8}{'slices/s':>10}{'/CPU s':>8}{'CPU x dcm2niix -z y':>21}"]
    for name, runs in spent.items():
        wall, cpu = (statistics.median(getattr(one, field) for one in runs) for field in ("wall_s", "cpu_s"))
        times = f"{cpu / statistics.median(one.cpu_s for one in floor):.2f}" if floor else ""
        lines.append(f"{TITLES[name]:32}{wall:>8.2f}{cpu:>8.2f}{slices / wall:>10.0f}{slices / cpu:>8.0f}{times:>21}")
    return "\n".join(lines)


def volumes(folder: Path) -> list[Volume]:
    """All NIfTI below a folder in RAS+, by shape and mean."""
    found = [volume.reorient_to_ras(volume.read_volume(path)) for path in folder.rglob("*.nii*")]
    return sorted(found, key=lambda one: (one.voxels.shape, float(one.voxels.mean(dtype=np.float64))))


def compare(export: Path, folder: Path) -> list[str]:
    """Where our volumes and dcm2niix's differ; they are matched by shape and mean, which differ between series."""
    sides = []
    for name in ("ours", "dcm2niix -z n"):
        out = folder / name.replace(" ", "")
        out.mkdir()
        processes.spend(command(name, export, out))
        sides.append(volumes(out))
    ours, theirs = sides
    if [one.voxels.shape for one in ours] != [one.voxels.shape for one in theirs]:
        return [f"{len(ours)} volumes of ours, {len(theirs)} of dcm2niix, or of other shapes"]
    affine_mm = max(float(np.abs(a.affine - b.affine).max()) for a, b in zip(ours, theirs, strict=True))
    shares = [
        abs(float(a.voxels.mean(dtype=np.float64)) / float(b.voxels.mean(dtype=np.float64)) - 1)
        for a, b in zip(ours, theirs, strict=True)
    ]
    print(f"{len(ours)} volumes against dcm2niix: affine within {affine_mm:.5f} mm, mean within {max(shares):.1e}")
    problems = ["the affines differ"] if affine_mm > MAX_AFFINE_MM else []
    return problems + (["the means differ"] if max(shares) > MAX_MEAN_SHARE else [])


def main() -> int:
    """Print the table; 0 where geometry and intensities agree with dcm2niix's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("series", 20), ("slices", 196), ("size", 256), ("seed", 0), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES), help="some of the contestants")
    asked = parser.parse_args()
    names = [name for name in asked.only if there(name)]
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        export = folder / "export"
        large_export.write(export, asked.series, asked.slices, asked.size, asked.seed, scattered=0)
        print(table(race(names, export, folder, asked.repeats), asked.series * asked.slices))
        print(
            "".join(f"{TITLES[name]}: left out, it is not installed\n" for name in asked.only if name not in names),
            end="",
        )
        problems = compare(export, folder) if there("dcm2niix") else []
    print("\n".join(problems) or f"{asked.series} series of {asked.slices} slices, medians of {asked.repeats}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
