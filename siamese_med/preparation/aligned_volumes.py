"""Align every scan once and keep the results: float16 volumes for memory-mapping, and one table of alignments.

<data>/prepared/<fingerprint>/template.nii.gz     the template, whose grid all volumes share
                             /alignments.parquet  prepared_scans.ALIGNMENT_COLUMNS
                             /volumes/<scan>.npy  float16 (i, j, k) on the template's grid, see imaging.intensity
                             /volumes/<scan>_brain.npz  the brain in the scan's mm, where one was found
                             /volumes/<scan>.json matrix, quality, digests; exists only while the others are complete
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from siamese_med.brain import head_template, segmentation_files
from siamese_med.brain.segmentation import StructureVolumes
from siamese_med.errors import EmptyInputError, PluginError
from siamese_med.imaging import volume
from siamese_med.imaging.intensity import INVERTED_FLAG, undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.plugins import Plugin, find_plugin, identify_plugin
from siamese_med.preparation import study_template as templates
from siamese_med.preparation.scan_placement import (
    PlacedScan,
    Placement,
    ScanToPlace,
    find_brain,
    is_alignment_usable,
    place_scans,
)
from siamese_med.runtime import files, untrusted_input
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.study.config import PrepareConfig
from siamese_med.study.plugin_names import PluginKind, is_built_in
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

MAX_TEMPLATE_SCANS = 8
"""Largest number of scans, one for each patient, that the study's own template is built from."""
MAX_VOTES = 5
"""Whether a study shows heads is told from at most so many of these scans."""
PREPARATION_VERSION = 7
"""Raise it when the same scans would give other voxels, matrices or volumes, so that older folders are not reused."""
DEFAULTS = PrepareConfig()


def prepare_scans(scans: pd.DataFrame, data: Path, template: Path | None, config: PrepareConfig) -> PreparedStudy:
    """Align all scans of a table to one template and cache the aligned volumes; scans that are done are skipped.

    `template` is a NIfTI file, or None for the study's own template, which is built on first use. Paths in `scans` are
    relative to `data`. Raises EmptyInputError where the table is empty.
    """
    if scans.empty:
        raise EmptyInputError("the catalogue holds no scan: run `siamese-med ingest INPUT` first")
    device = choose_device(config.accelerator)
    folder = _folder(data / "prepared", template, config)
    files.remove_stale_temporary_files(folder)
    _keep_template(folder / "template.nii.gz", template, scans, data, config, device)
    origin = _origin(folder, config)
    made_from = {scan.id: _digest_inputs(_scan_to_align(scan), data, origin) for scan in scans.itertuples()}
    waiting = scans[[not _cached(folder, made_from[scan], scan) for scan in scans.id]]
    jobs = [
        AlignmentBatch(tuple(map(_scan_to_align, part.itertuples())), data, folder, origin, _placement(config, device))
        for part in (
            waiting.iloc[start : start + config.batch_size] for start in range(0, len(waiting), config.batch_size)
        )
    ]
    for _ in run_in_parallel(_align_batch, jobs, "aligning scans", processes=1 if device == "cuda" else None):
        pass
    table = _table(scans, data, folder, config.min_quality)
    files.write_parquet_file(folder / "alignments.parquet", table)
    return PreparedStudy(table, folder / "template.nii.gz")


def read_alignments(data: Path, template: Path | None, config: PrepareConfig) -> pd.DataFrame | None:
    """Read the alignments that the last `prepare_scans` with these arguments wrote; None where there are none.

    The scans may be others by now. Raises InputError where the table is damaged.
    """
    if template is not None and not template.is_file():
        return None
    table = _folder(data / "prepared", template, config) / "alignments.parquet"
    return untrusted_input.read_untrusted_table(table, ("scan",)) if table.is_file() else None


def digest_inputs(scans: pd.DataFrame, data: Path, template: Path | None, config: PrepareConfig) -> str | None:
    """Digest everything that `prepare_scans` makes its result from; None where the study has no template yet.

    Equal digests mean equal alignment tables and equal aligned voxels, so a result can be used again.

    Parameters
    ----------
    scans
        The scan table, with tables.SCAN_COLUMNS.
    data
        The data folder, from which paths in the table count.
    template
        NIfTI file to align to; None for the study's own template.
    config
        The `prepare` section of the configuration.

    Returns
    -------
    str or None
        SHA-256, as hex.
    """
    folder = _folder(data / "prepared", template, config)
    if not (folder / "template.nii.gz").is_file():
        return None
    origin = _origin(folder, config)
    made_from = [f"{scan.id} {_digest_inputs(_scan_to_align(scan), data, origin)}" for scan in scans.itertuples()]
    return _digest(folder.name, str(config.min_quality), *made_from)


def registration_of(config: PrepareConfig) -> Plugin:
    """Find the registration that the configuration names; raises PluginError where it cannot take its arguments."""
    if config.registration_args and is_built_in(PluginKind.REGISTRATION, config.registration):
        raise PluginError(f"prepare.registration_args: {config.registration} takes no arguments: leave them out")
    return find_plugin(PluginKind.REGISTRATION, config.registration, config.registration_args)


def align_scan(
    scan: Volume, template: Volume, config: PrepareConfig = DEFAULTS, contrast: str = UNKNOWN, device: str = "cpu"
) -> PlacedScan:
    """Align one scan to a template, exactly as `prepare_scans` does for each scan of that contrast."""
    return place_scans([ScanToPlace(scan, contrast)], template, _placement(config, device))[0]


def _placement(config: PrepareConfig, device: str) -> Placement:
    return Placement(registration_of(config), config.transform, device, config.batch_size)


def choose_device(accelerator: str) -> str:
    """Choose `cuda` where the configuration asks for it, or asks for `auto` and there is a GPU; else `cpu`."""
    import torch

    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return "cpu"
    return "cuda"


def _folder(prepared: Path, template: Path | None, config: PrepareConfig) -> Path:
    """Named after what changes voxels or matrices; a template that the study made leads to the study's folder."""
    shaping = config.model_copy(update={"min_quality": 0.0, "batch_size": 1, "accelerator": "auto", "template": None})
    shape = f"{shaping.fingerprint()}-{PREPARATION_VERSION}"
    own = prepared / f"{shape}-study"
    if template is None:
        return own
    given = files.compute_file_digest(template)
    if (own / "template.nii.gz").is_file() and files.compute_file_digest(own / "template.nii.gz") == given:
        return own
    return prepared / f"{shape}-{given[:8]}"


def _origin(folder: Path, config: PrepareConfig) -> str:
    template = files.compute_file_digest(folder / "template.nii.gz")
    method = f"{config.transform} {PREPARATION_VERSION}{identify_plugin(registration_of(config))}"
    return f"{template} {config.head_template} {method}"


def _keep_template(
    path: Path, given: Path | None, scans: pd.DataFrame, data: Path, config: PrepareConfig, device: str
) -> None:
    """Kept once made: scans that come later are aligned to the template that is there."""
    if path.is_file():
        return
    if given:
        made = volume.reorient_to_ras(volume.read_volume(given))
    else:
        made = _make_template(
            [_scan_to_align(scan) for scan in _representatives(scans).itertuples()], data, config, device
        )
    volume.write_volume(path, Volume(made.voxels.astype(np.float32), made.affine))


def _make_template(chosen: Sequence[ScanToAlign], data: Path, config: PrepareConfig, device: str) -> Volume:
    """The template of heads, if most of the chosen scans show one and none has a mask; else the mean of these scans."""
    wanted = config.head_template and registration_of(config).built_in  # a plug-in may know no other contrast
    if wanted and not any(one.mask for one in chosen) and _show_heads(chosen[:MAX_VOTES], data):
        return head_template.make_head_template(config.shape, config.spacing_mm)
    loaded = [_load(source, data) for source in chosen]
    masks = [one.mask for one in loaded]
    return templates.build_template([one.scan for one in loaded], config.shape, config.spacing_mm, device, masks)


def _show_heads(voters: Sequence[ScanToAlign], data: Path) -> bool:
    """Whether more than half of some scans show a head; ends once that is decided."""
    heads = others = 0
    for voter in voters:
        scan, contrast, _ = _load(voter, data)
        heads, others = (heads + 1, others) if find_brain(scan, contrast) else (heads, others + 1)
        if 2 * max(heads, others) > len(voters):
            break
    return heads > others


def _representatives(scans: pd.DataFrame) -> pd.DataFrame:
    """One scan a subject of the commonest modality and contrast; pseudonyms are random, so their order is a draw."""
    kind = scans.groupby(["modality", "contrast"]).size().idxmax()
    alike = scans[(scans.modality == kind[0]) & (scans.contrast == kind[1])]
    return alike.sort_values("id").groupby("subject").head(1).head(MAX_TEMPLATE_SCANS)


class ScanToAlign(NamedTuple):
    """The columns of the scan table that alignment needs; paths are relative to the data folder."""

    id: str
    path: str
    sha256: str
    contrast: str
    flags: Sequence[str]
    mask: str | None


def _scan_to_align(scan: Any) -> ScanToAlign:
    return ScanToAlign(scan.id, scan.path, scan.sha256, scan.contrast, scan.flags, scan.mask)


def _digest_inputs(scan: ScanToAlign, data: Path, origin: str) -> str:
    """Digest of everything that an alignment is made from; `origin`: the template, the transform and the method."""
    mask = files.compute_file_digest(data / scan.mask) if scan.mask else "no mask"
    brightness = INVERTED_FLAG if INVERTED_FLAG in scan.flags else "as stored"
    return _digest(scan.sha256, scan.contrast, brightness, mask, origin)


def _digest(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class AlignmentBatch:
    """Scans that are placed together. `origin` identifies template, transform and version, see `_digest_inputs`."""

    scans: tuple[ScanToAlign, ...]
    data: Path
    folder: Path
    origin: str
    method: Placement


def _align_batch(batch: AlignmentBatch) -> None:
    template = volume.read_volume(batch.folder / "template.nii.gz")
    loaded = [_load(scan, batch.data) for scan in batch.scans]
    for scan, placed in zip(batch.scans, place_scans(loaded, template, batch.method), strict=True):
        _write_placed_scan(batch, scan, placed)


def _write_placed_scan(batch: AlignmentBatch, scan: ScanToAlign, placed: PlacedScan) -> None:
    """Write voxels, brain and record so that a run that is killed in between leaves no record of other voxels."""
    made_from = _digest_inputs(scan, batch.data, batch.origin)
    aligned = hashlib.sha256(placed.voxels.tobytes())
    mark = batch.folder / "volumes" / f"{scan.id}.json"
    mark.unlink(missing_ok=True)
    with files.replace_atomically(mark.with_suffix(".npy")) as temporary:
        np.save(temporary, placed.voxels)
    if placed.brain is not None:
        aligned.update(placed.brain.brain.tobytes())
        segmentation_files.write_segmentation(_brain_file(batch.folder, scan.id), placed.brain)
    content = _digest(made_from, json.dumps(placed.record["matrix"]), aligned.hexdigest())
    volumes = placed.brain.measure_volumes() if placed.brain is not None else StructureVolumes(None, None)
    found = {"brain": placed.brain is not None, **volumes._asdict()}
    record = {"made_from": made_from, "content": content, **found, **placed.record}
    files.write_json_file(mark, record)


def _brain_file(folder: Path, scan: str) -> Path:
    return folder / "volumes" / f"{scan}_brain.npz"


def _load(source: ScanToAlign, data: Path) -> ScanToPlace:
    mask = volume.read_volume(data / source.mask).voxels > 0 if source.mask else None
    return ScanToPlace(_read(source, data), source.contrast, mask)


def _read(source: ScanToAlign, data: Path) -> Volume:
    scan = volume.read_volume(data / source.path)
    return Volume(undo_monochrome1(scan.voxels, source.flags), scan.affine)


def _cached(folder: Path, made_from: str, scan: str) -> bool:
    path = folder / "volumes" / f"{scan}.json"
    return path.is_file() and json.loads(path.read_text()).get("made_from") == made_from


def _table(scans: pd.DataFrame, data: Path, folder: Path, min_quality: float) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for scan in scans.itertuples():
        record = json.loads((folder / "volumes" / f"{scan.id}.json").read_text())
        rows.append(
            {
                "scan": scan.id,
                "matrix": record["matrix"],
                "quality": record["quality"],
                "coverage": record["coverage"],
                "ok": is_alignment_usable(record, min_quality),
                "volume": str((folder / "volumes" / f"{scan.id}.npy").relative_to(data)),
                "brain": str(_brain_file(folder, scan.id).relative_to(data)) if record["brain"] else None,
                "brain_ml": record["brain_ml"],
                "ventricles_ml": record["ventricles_ml"],
                "content": record["content"],
            }
        )
    return pd.DataFrame(rows)
