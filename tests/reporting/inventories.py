"""What the ingest page is made of: series that became scans, series that were refused, files of nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from siamese_med.imaging import thumbnails
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.reasons import REASON_HINTS, SCAN_FLAGS, get_outcome
from siamese_med.study.tables import IngestAccount, IngestInventory, ScanThumbnail, SeriesAccount
from tests.reporting.conftest import pseudonym

OUTCOMES = {word: get_outcome(word) for word in REASON_HINTS}


def picture(seed: int = 0) -> bytes:
    """A thumbnail as rich in detail as that of a head."""
    edges = np.linspace(-1, 1, 48)
    ball = sum(axis**2 for axis in np.meshgrid(edges, edges, edges, indexing="ij")) < 0.8
    noise = np.random.default_rng(seed).normal(600, 200, (12, 12, 12)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    return thumbnails.make_thumbnail_strip(Volume((ball * noise).astype(np.float32), np.diag([4.0, 4, 4, 1])))


def scanned(name: str, flags: tuple[str, ...] = (), thumbnail: bytes = b"", **files: int) -> SeriesAccount:
    """A series of 160 files that became a scan."""
    subject = pseudonym(name)
    scan = ScanThumbnail(f"{subject}_ses-01_T1w", "T1w", (256, 256, 160), (1.0, 1.0, 1.0), flags, thumbnail)
    label = f"series-{name[:12]}"
    counts = {"": 160, **files}
    return SeriesAccount(label, (subject,), "ses-01", "2011-02-03", "MR", "T1w", "dicom", 160, counts, (scan,))


def refused(name: str, **files: int) -> SeriesAccount:
    """A series of which nothing was taken."""
    label = f"series-bad{name[:9]}"
    return SeriesAccount(label, (pseudonym(name),), None, "2012-03-04", "MR", "unknown", "dicom", 159, files, ())


def inventory(*series: SeriesAccount, loose: dict[str, int] | None = None, departed: int = 0) -> IngestInventory:
    counts: dict[str, int] = dict(loose or {})
    for one in series:
        for word, count in one.files.items():
            counts[word] = counts.get(word, 0) + count
    became = dict.fromkeys(("ingested", "skipped", "duplicate", "quarantined"), 0)
    for word, count in counts.items():
        became[get_outcome(word)] += count
    account = IngestAccount(sum(counts.values()), **became, reasons={word: n for word, n in counts.items() if word})
    return IngestInventory(account, series, loose or {}, departed, OUTCOMES, dict(REASON_HINTS), dict(SCAN_FLAGS))


MIXED = inventory(
    scanned("anna", ("burned_in",), picture()),
    scanned("berta", (), picture(1), duplicate=2),
    refused("anna", missing_slice=159, truncated_pixels=1),
    refused("carla", missing_slice=150),
    refused("dora", missing_slice=12),
    replace(refused("emma", patient_conflict=4), subjects=(pseudonym("emma"), pseudonym("fanny"))),
    refused("gerda", localizer=3),
    loose={"not_an_image": 7},
    departed=2,
)
