"""The simulated rescans of the scans of a study, kept beside its pairs: each scan is rescanned once for all its pairs.

A file is `rescans-<digest>.json`; the digest is that of the scan, its region, and whether both scans of a rescan come
from one scanner. Inside stands the digest of all that the figures depend on. A file of another instrument or method, or
one that is damaged, is measured again and replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siamese_med.runtime import files
from siamese_med.scoring.change import simulated_rescans
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.change.simulated_rescans import MeasuredRescan


@dataclass(frozen=True)
class RescanStore:
    """The measured rescans in a folder; it holds a path and a text, so it can be sent to worker processes.

    Parameters
    ----------
    folder
        Folder of the files.
    measured_with
        Digest of the instrument, the settings and the method; files with another one are not used.
    """

    folder: Path
    measured_with: str

    def measure_rescans(
        self, source: PairScan, same_scanner: bool, spacing_mm: float, detector: ChangeDetector
    ) -> list[MeasuredRescan]:
        """Return the rescans of a scan, see `simulated_rescans.measure_rescans`, stored ones if there are any."""
        shown = source.content_digest()
        path = self.folder / f"rescans-{_digest([shown, same_scanner])[:20]}.json"
        content = _digest([shown, same_scanner, spacing_mm, self.measured_with])
        if (stored := _read_rescans(path, content)) is not None:
            return stored
        found = simulated_rescans.measure_rescans(source, same_scanner, spacing_mm, detector)
        figures = _to_json(found)
        files.write_json_file(path, {"content": content, "sha256": _digest(figures), "rescans": figures})
        return found


def _read_rescans(path: Path, content: str) -> list[MeasuredRescan] | None:
    """Read a file; None where there is none, it was measured otherwise, or not every digit is as it was written."""
    try:
        stored = json.loads(path.read_bytes())
        fits = stored["content"] == content and stored["sha256"] == _digest(stored["rescans"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return [MeasuredRescan(*map(_from_json, one)) for one in stored["rescans"]] if fits else None


def _to_json(rescans: Sequence[MeasuredRescan]) -> list[list[dict[str, Any]]]:
    return [[{**vars(figure), "tail": figure.tail.tolist()} for figure in one] for one in rescans]


def _from_json(stored: dict[str, Any]) -> MapSummary:
    return MapSummary(**{**stored, "tail": np.asarray(stored["tail"])})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
