"""What else turns DICOM into NIfTI, and what reading alone costs: each as a program that `speed` runs and measures.

python -m benchmarks.converters NAME EXPORT OUT
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


def folders(export: Path) -> list[Path]:
    """Folders with files in them: one a series."""
    return sorted({path.parent for path in export.rglob("*") if path.is_file()})


def _files(export: Path) -> Iterator[Path]:
    return (path for path in sorted(export.rglob("*")) if path.is_file())


def read(export: Path, _out: Path) -> None:
    """Every byte into memory, file by file."""
    for path in _files(export):
        path.read_bytes()


def read_and_hash(export: Path, _out: Path) -> None:
    """Every byte into memory and through SHA-256."""
    for path in _files(export):
        hashlib.sha256(path.read_bytes()).hexdigest()


def pydicom_read(export: Path, _out: Path) -> None:
    """Every header parsed and every picture decoded by pydicom."""
    import pydicom

    for path in _files(export):
        pydicom.dcmread(path).pixel_array  # noqa: B018 - decoding is what is measured


def simpleitk(export: Path, out: Path, ending: str = ".nii.gz") -> None:
    """SimpleITK's series reader with the tags of all slices, and its writer."""
    import SimpleITK as sitk  # noqa: N813 - its own documentation's name

    for number, folder in enumerate(folders(export)):
        for series in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series))
            reader.MetaDataDictionaryArrayUpdateOn()
            reader.LoadPrivateTagsOn()
            sitk.WriteImage(reader.Execute(), str(out / f"{number}-{series}{ending}"))


def simpleitk_plain(export: Path, out: Path) -> None:
    """The same without compression."""
    simpleitk(export, out, ".nii")


def dicom2nifti(export: Path, out: Path) -> None:
    """dicom2nifti, compressed as it does by default, in the orientation of the source."""
    from dicom2nifti import dicom_series_to_nifti

    for number, folder in enumerate(folders(export)):
        dicom_series_to_nifti(folder, out / f"{number}.nii.gz", reorient_nifti=False)


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    one.__name__: one for one in (read, read_and_hash, pydicom_read, simpleitk, simpleitk_plain, dicom2nifti)
}


def main() -> int:
    """Run one of them."""
    name, export, out = sys.argv[1:]
    CONVERTERS[name](Path(export), Path(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
