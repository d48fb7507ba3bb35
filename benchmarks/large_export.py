"""Write a large simulated hospital export: many whole series of MR (and some CT) with headers as real ones are.

About 150 elements a file with sequences, private blocks and, in some series, Siemens' CSA headers; several patients,
studies and dates; explicit and implicit VR; some series in a folder each, others scattered under names that say
nothing. The pictures are a brain template with noise, so that they compress as real ones do. Everything follows from
the seed, and all identities are invented. `--check` has dcm2niix convert it all and fails on any warning.

python -m benchmarks.large_export FOLDER --series 20 --slices 196 --size 256 --seed 0 [--trouble 0.2] [--check]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import hospital_files
from benchmarks.hospital import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

TROUBLES = ("copy", "cut", "missing", "nifti", "letter")
WARNING = re.compile("warning|error|unsupported|unable", re.IGNORECASE)


@dataclass(frozen=True)
class Written:
    """One series on disk, and what is wrong with it (empty: nothing)."""

    files: tuple[Path, ...]
    trouble: str = ""


def write(
    folder: Path, series: int, slices: int, size: int, seed: int = 0, trouble: float = 0.0, scattered: float = 0.3
) -> list[Written]:
    """Write `series` series of `slices` slices of size x size; `trouble` and `scattered` are shares of them."""
    random = np.random.default_rng(seed)
    written = []
    for number in range(series):
        loose, bad = random.random() < scattered, random.random() < trouble
        files = _write_series(folder, number, seed, (slices, size, size), loose, random)
        kind = TROUBLES[int(random.integers(len(TROUBLES)))] if bad else ""
        written.append(Written(_made_worse(files, kind), kind))
    return written


def _write_series(
    folder: Path, number: int, seed: int, shape: tuple[int, int, int], loose: bool, random: np.random.Generator
) -> list[Path]:
    one = Series(number, seed, shape)
    voxels = pictures(shape, random, ct=one.ct)
    files = []
    for index, content in enumerate(hospital_files.of_series(one, voxels)):
        path = folder / (_scattered(random) if loose else _in_order(one, index))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(path)
    return files


def _scattered(random: np.random.Generator) -> str:
    name = random.bytes(6).hex().upper()
    return f"DICOM/{name[:2]}/{name[2:4]}/{name[4:]}"


def _in_order(one: Series, index: int) -> str:
    return f"{one.person.name}/{one.date}/{one.number_in_study:03d}_{one.description}/IM{index + 1:04d}.dcm"


@lru_cache(maxsize=2)
def _template(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """A brain (slice from the feet up, row, column), 0 to 1, filling most of the picture."""
    from nilearn.datasets import load_mni152_template
    from scipy.ndimage import map_coordinates

    brain = np.asarray(load_mni152_template(resolution=2).dataobj, dtype=np.float32)
    along = [np.linspace(-0.05, 1.05, count, dtype=np.float32) for count in shape]
    up, back, left = (edge * (count - 1) for edge, count in zip(along, brain.shape[::-1], strict=True))
    z, y, x = np.meshgrid(up, back[::-1], left[::-1], indexing="ij", copy=False)
    return np.clip(map_coordinates(brain, [x, y, z], order=1), 0, None) / float(brain.max())


@lru_cache(maxsize=2)
def _noise(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.abs(np.random.default_rng(0).normal(size=shape)).astype(np.float32)


def pictures(shape: tuple[int, int, int], random: np.random.Generator, ct: bool) -> NDArray[np.uint16]:
    """Stored values (slice, row, column) of 12 bits: the template with gain, shading and shifted noise of its own."""
    gain, level, shift = random.uniform(600, 1200), random.uniform(8, 20), int(random.integers(1 << 20))
    shading = 1 + 0.2 * np.sin(np.linspace(0, 3, shape[2], dtype=np.float32) + random.uniform(0, 6))
    noise = np.roll(_noise(shape).ravel(), shift).reshape(shape)
    values = _template(shape) * (np.float32(gain) * shading) + noise * np.float32(level)
    return np.clip(values + (1000 if ct else 0), 0, 4095).astype(np.uint16)


def _made_worse(files: list[Path], kind: str) -> tuple[Path, ...]:
    """Spoil a series in one way that exports are spoilt in; returns its files."""
    middle = files[len(files) // 2]
    beside = middle.with_name(f"{middle.stem}_extra")
    if kind == "copy":
        return (*files, Path(shutil.copyfile(middle, beside)))
    if kind == "cut":
        middle.write_bytes(middle.read_bytes()[: middle.stat().st_size * 2 // 3])
    elif kind == "missing":
        middle.unlink()
        files = [one for one in files if one != middle]
    elif kind == "nifti":
        return (*files, _nifti(beside.with_suffix(".nii.gz")))
    elif kind == "letter":
        beside.write_text("Dear colleague, thank you for the referral", encoding="utf-8")
        return (*files, beside)
    return tuple(files)


def _nifti(path: Path) -> Path:
    import nibabel as nib

    voxels = (_template((40, 48, 48)) * 900).astype(np.int16) + len(str(path))
    image = nib.Nifti1Image(voxels.T, np.diag([-3.0, -3.0, 3.0, 1.0]))
    image.set_sform(image.affine, 1)
    nib.save(image, path)
    return path


def complaints(folder: Path, expected: int) -> list[str]:
    """What dcm2niix complains of, and whether it makes something else than `expected` volumes."""
    with tempfile.TemporaryDirectory() as out:
        call = ["dcm2niix", "-z", "n", "-d", "9", "-f", "%j", "-o", out, str(folder)]
        said = subprocess.run(call, capture_output=True, text=True, check=False)
        made = len(list(Path(out).glob("*.nii")))
    found = [f"exit code {said.returncode}"] if said.returncode else []
    found += [line for line in (said.stdout + said.stderr).splitlines() if WARNING.search(line)]
    return found + ([f"{made} volumes instead of {expected}"] if made != expected else [])


def main() -> int:
    """Write the export, say how large it is, and check it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("series", 20), ("slices", 196), ("size", 256), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--trouble", type=float, default=0.0)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    started = time.perf_counter()
    written = write(asked.folder, asked.series, asked.slices, asked.size, asked.seed, asked.trouble)
    spent = time.perf_counter() - started
    files = [path for one in written for path in one.files]
    size = sum(path.stat().st_size for path in files)
    print(f"{len(written)} series, {len(files)} files, {size / 1e6:.0f} MB, {1e3 * spent / len(files):.1f} ms a file")
    if not asked.check:
        return 0
    found = complaints(asked.folder, len(written))
    print("\n".join(found) or "dcm2niix converts every series without a warning")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
