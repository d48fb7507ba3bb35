"""A PyTorch dataset of longitudinal scans as dictionaries, with a persistent cache, for training loops of others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, LoadImaged, Transform
from torch.utils.data import Dataset

from siamese_med.errors import InputError
from siamese_med.pairing.patient_splits import assign_splits, read_known_splits
from siamese_med.study.config import PairConfig
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.training.batch_transforms import IMAGE, MASK
from siamese_med.training.scan_entries import ScanEntry, list_bids_scans, list_study_scans, read_entries

AFFINE = "_affine"
"""End of the key under which the cache keeps the affine of an image or a mask."""

READERS = ["NumpyReader", "NibabelReader"]
"""MONAI's readers of .npy, without pickled objects, and of NIfTI. The last one is tried first."""

Transforms = Sequence[Callable[..., Any]]


class LongitudinalDataset(Dataset[dict[str, Any]]):
    """Scans of patients over time as dictionaries, alone by their number, or in pairs by two numbers.

    A scan is `image` (1, i, j, k), float32, a `MetaTensor` with its affine; `mask` (1, i, j, k) where any scan of the
    dataset has one, with ones where this scan has none; `subject`, `session`; and `days` since the patient's first
    visit, NaN where unknown. A pair is `a`, `b`, each of them a scan, and `same`: 1.0 if they are of one patient, else
    0.0.

    Parameters
    ----------
    scans
        Dictionaries with these keys, where `image` and `mask` are paths of NIfTI or .npy; or entries of `scan_entries`.
    preparation
        MONAI's deterministic dictionary transforms, such as `Spacingd("image", 1.0)`. They are run once a scan, on
        `image` and `mask` alone, where there is a cache.
    transform
        Run on the dictionary of a scan every time; for random transforms of single scans.
    cache
        Folder of MONAI's `PersistentDataset`, which keeps what the preparation gives. A scan is read again when its
        file or the preparation changes. It holds voxels, and no name, date or path. None for no cache.
    splits
        Known splits by patient. Each other patient is assigned one by `config`, by name.
    config
        Shares and seed of the splits.

    Attributes
    ----------
    subjects
        Patient of each scan.
    splits
        `train`, `validation` or `test` of each patient.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "scan.npy", np.ones((4, 4, 4)))
    >>> dataset = LongitudinalDataset([{"image": folder / "scan.npy", "subject": name} for name in ("sub-1", "sub-2")])
    >>> dataset[0]["image"].shape, float(dataset[0, 1]["same"])
    (torch.Size([1, 4, 4, 4]), 0.0)
    """

    def __init__(
        self,
        scans: Sequence[Mapping[str, Any]] | Sequence[ScanEntry],
        preparation: Transforms = (),
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        cache: Path | None = None,
        splits: Mapping[str, str] | None = None,
        config: PairConfig | None = None,
    ) -> None:
        entries = [scan for scan in scans if isinstance(scan, ScanEntry)]
        self.entries = entries if entries else read_entries([scan for scan in scans if isinstance(scan, Mapping)])
        self.subjects = [entry.subject for entry in self.entries]
        self.splits = assign_splits(self.subjects, splits or {}, config or PairConfig())
        self.transform = transform
        self._masked = any(entry.mask for entry in self.entries)
        steps = [
            LoadImaged((IMAGE, MASK), reader=READERS, ensure_channel_first=True, allow_missing_keys=True),
            SetAffined(),
            *preparation,
            SeparateAffined(),
        ]
        files = [_describe_files(entry) for entry in self.entries]
        self._voxels = CachedVoxels(files, Compose(steps), cache, hash_transform=pickle_hashing)

    @classmethod
    def from_study(cls, study: Study, prepared: PreparedStudy | None = None, **options: Any) -> LongitudinalDataset:
        """Make a dataset of the scans of a study, see `scan_entries.list_study_scans`.

        Patients keep the splits of the study's pair table, where there is one. `options` are those of the class.
        """
        known = {"splits": read_known_splits(study.pairs), "config": study.config.pair}
        return cls(list_study_scans(study, prepared), **{**known, **options})

    @classmethod
    def from_bids(cls, folder: Path, contrasts: Collection[str] | None = None, **options: Any) -> LongitudinalDataset:
        """Make a dataset of the images of a BIDS tree, see `scan_entries.list_bids_scans`."""
        return cls(list_bids_scans(folder, contrasts), **options)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, scan: int | tuple[int, int]) -> dict[str, Any]:
        if isinstance(scan, tuple):
            a, b = scan
            same = float(self.subjects[a] == self.subjects[b])
            return {"a": self[a], "b": self[b], "same": torch.tensor(same)}
        entry, voxels = self.entries[scan], self._read_voxels(scan)
        item: dict[str, Any] = {IMAGE: _placed(voxels, IMAGE)}
        if self._masked:
            item[MASK] = _placed(voxels, MASK) if MASK in voxels else _make_full_mask(item[IMAGE])
        item |= {"subject": entry.subject, "session": entry.session, "days": torch.tensor(entry.days)}
        return item if self.transform is None else self.transform(item)

    def _read_voxels(self, scan: int) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._voxels[scan]
        except Exception as error:
            causes = [error]
            while (cause := causes[-1].__cause__) is not None and isinstance(cause, Exception):
                causes.append(cause)
            why = type(causes[-1]).__name__
            raise InputError(
                f"scan {scan} of the dataset cannot be prepared ({why}): check its file and the transforms"
            ) from error
        return found


class CachedVoxels(PersistentDataset):  # type: ignore[misc]
    """MONAI's `PersistentDataset`, which also makes a cached file anew that a kill or a full disk has cut short."""

    def _cachecheck(self, item_transformed: Mapping[str, Any]) -> Any:
        try:
            return super()._cachecheck(item_transformed)
        except (RuntimeError, EOFError):
            name = self.hash_func(item_transformed).decode() + self.transform_hash
            if self.cache_dir is None or not (self.cache_dir / f"{name}.pt").is_file():
                raise
            (self.cache_dir / f"{name}.pt").unlink()
            return super()._cachecheck(item_transformed)


class SetAffined(Transform):  # type: ignore[misc]
    """Give an image the affine that its file does not say."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        found = {key: data[key].float() for key in (IMAGE, MASK) if key in data}
        if "affine" in data:
            found[IMAGE].affine = torch.tensor(data["affine"], dtype=torch.float64)
        return found


class SeparateAffined(Transform):  # type: ignore[misc]
    """Lay voxels and affine side by side as plain tensors, which a cache can hold and load without running code."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in (IMAGE, MASK):
            if key in data:
                voxels = data[key]
                found[key] = voxels.as_tensor() if isinstance(voxels, MetaTensor) else torch.as_tensor(voxels)
                if isinstance(voxels, MetaTensor):
                    found[key + AFFINE] = torch.as_tensor(voxels.affine, dtype=torch.float64)
        return found


def _describe_files(entry: ScanEntry) -> dict[str, Any]:
    """Describe the files that are read, and by what a change of them is seen."""
    described: dict[str, Any] = {IMAGE: str(entry.image), "state": [_read_state(entry.image)]}
    if entry.mask is not None:
        described |= {MASK: str(entry.mask), "state": [_read_state(entry.image), _read_state(entry.mask)]}
    return described if entry.affine is None else {**described, "affine": np.asarray(entry.affine).tolist()}


def _read_state(path: Path) -> tuple[int, int]:
    """Size and time of change (ns) of a file; zeros where it is missing, which is told when it is read."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _placed(voxels: Mapping[str, Any], key: str) -> torch.Tensor:
    found: torch.Tensor = MetaTensor(voxels[key], affine=voxels.get(key + AFFINE))
    return found


def _make_full_mask(image: Any) -> torch.Tensor:
    found: torch.Tensor = MetaTensor(torch.ones_like(image.as_tensor()), affine=image.affine)
    return found
