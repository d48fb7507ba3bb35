"""What an input says of a file, before the file itself is read: whose it is, when it was taken, what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from siamese_med.ingestion import contrast, machine_errors
from siamese_med.ingestion.inputs import bids_metadata, time_limits
from siamese_med.ingestion.inputs.bids_datasets import BidsDataset
from siamese_med.ingestion.inputs.bids_labels import BidsLabels

NO_LABELS = BidsLabels()


@dataclass(frozen=True)
class InputClaim:
    """What the input says of a file without the file's own word; part of a pseudonym, never written."""

    kind: str  # manifest, bids or name; the last two with the data set's name space where there are several
    subject: str
    session: str = ""
    date: date | None = None
    changed: int | None = None
    contrast: str = "unknown"
    modality: str = "unknown"
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    mask: tuple[str, int, int] | None = None  # path, size and time of change, so that another mask is another claim

    @property
    def given(self) -> bool:
        """Whether somebody said who it is; a bare file name is only a guess."""
        return not self.by_place

    @property
    def in_bids(self) -> bool:
        """Whether a BIDS label names the subject."""
        return self.kind.partition(" ")[0] == "bids"

    @property
    def by_place(self) -> bool:
        """Whether only the place of the file tells its subject from others."""
        return self.kind.partition(" ")[0] == "name"


@dataclass(slots=True)
class InputPath:
    """One path of the input; `reason` where its name says enough, `listed` where a manifest's row names it.

    What name and side-cars claim is worked out when it is asked for, since DICOM files speak for themselves.
    """

    path: Path
    claimed: Callable[[InputPath], InputClaim]
    reason: str = ""
    listed: bool = False
    labels: BidsLabels = NO_LABELS
    data_set: BidsDataset | None = None
    trouble: str = ""
    _claim: InputClaim | None = None

    @property
    def claim(self) -> InputClaim:
        """What the input says of the file; nothing, with a reason word as `trouble`, where that cannot be read now."""
        if self._claim is None:
            self._claim = self._asked()
        return self._claim

    def _asked(self) -> InputClaim:
        try:
            return time_limits.call_with_time_limit(self.claimed, self)
        except OSError as error:
            self.trouble = machine_errors.find_machine_error_reason(error) or "unreadable_file"
            return InputClaim("name", str(self.path))

    def claimed_in(self, space: str) -> InputClaim:
        """What the input would say of the file, were that its data set's name space."""
        claim = self._asked()
        return replace(claim, kind=f"{claim.kind.partition(' ')[0]} {space}".strip())

    def forget_claim(self) -> None:
        """Work the claim out anew when it is asked for again, since its data set's name space changed."""
        self._claim = None


def claim_by_place(found: InputPath, root: Path) -> InputClaim:
    """Where nobody says whose a file is, its place stands for a patient: equal names never merge two of them."""
    kind = found.data_set.kind("name") if found.data_set else "name"
    return InputClaim(kind, str(found.path.relative_to(root).with_name(bids_metadata.get_image_stem(found.path))))


def claim_by_name(found: InputPath, root: Path, tree: bids_metadata.BidsTree | None = None) -> InputClaim:
    """What a file's name, its folders and its side-cars say: BIDS labels where there are any, else its place."""
    labels, stem = found.labels, bids_metadata.get_image_stem(found.path)
    if labels.subject:
        kind, who = found.data_set.kind("bids") if found.data_set else "bids", labels.subject
    else:
        place = claim_by_place(found, root)
        kind, who = place.kind, place.subject
    car = bids_metadata.read_sidecar(found.path, stem)
    acquired = (tree.date(found.path, labels) if tree else None) or car.date
    word = contrast.guess_contrast_from_name(stem)
    modality = car.modality or {"CT": "CT", "PET": "PT", "unknown": "unknown"}.get(word, "MR")
    return InputClaim(kind, who, labels.session, acquired, None, word, modality, car.scanner, car.protocol, car.flags)
