"""Make the starter model that ships with the package, from real heads that may go into it.

    python -m benchmarks.make_starter_model FOLDER [--real ../shared/real] [--out siamese_med/starter]

The heads are those of ds002748, ds000011, open_ms and brain_tumor_progression. Each real scan is scanned again by
simulated scanners (`siamese_med.simulation.rescan`), since most of these people have one scan: two visits in its own
contrast, and for most T1w heads one more in a contrast that a random curve makes. These are told from one another by an
ordinary training of the package. The noise floors of the model are emptied: it was trained on rescans of other people,
and every pair is better held against rescans of its own two scans. Prints the digests of what was made: the same
command on the same machine makes the same files, but for the durations in metrics.json and training_log.csv.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks import verification
from benchmarks.identity_real import INVERTED
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.head_template import make_head_template
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.network.bundle_files import BundleTerms, write_bundle_files
from siamese_med.network.model_folder import WEIGHTS_FILE, load_model
from siamese_med.pipeline import stages
from siamese_med.preparation.scan_placement import is_head_template
from siamese_med.reporting.model import card
from siamese_med.runtime import files
from siamese_med.simulation import bids_tree, rescan
from siamese_med.simulation.scanner import Scanner
from siamese_med.study import config as configuration
from siamese_med.study.model_info import MODEL_FILE, RecordedNoiseFloor, read_model_info
from siamese_med.study.model_metrics import read_model_metrics
from siamese_med.study.tables import Study

SHIPPED = ("ds002748", "ds000011", "open_ms", "brain_tumor_progression")
"""Data sets whose licence lets a model ship; the others of ../shared/real are share-alike."""
STARTER = Path("siamese_med/starter")
KEPT_FILES = (WEIGHTS_FILE, "metrics.json", "README.md", "training_log.csv", MODEL_FILE)
"""Files of the model folder that ship, beside those of the bundle. None is an image: others show scans, and the package
makes the template."""
TERMS = BundleTerms(
    authors="the authors of siamese-med",
    copyright="the authors of siamese-med; sources of the training data in README.md",
    licence=(Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8"),
)
"""The starter model is handed on under the licence of the package."""
TIMED_FILES = {"metrics.json", "training_log.csv"}
"""Of these, the files that hold durations, so that they differ each time."""
OWN_VISITS = 2
SEED = 19
FLUID_DARK = np.array([0.0, 0.2, 0.9, 0.75, 0.7])
"""A contrast curve that makes T1 look like FLAIR: fluid dark, grey matter brighter than white."""
CURVES = {"T2w": INVERTED, "FLAIR": FLUID_DARK}
SETTINGS: dict[str, dict[str, object]] = {
    "train": {"change_steps": 0, "embedding_size": 128, "epochs": 12, "steps_per_epoch": 12, "accelerator": "cpu"},
    "score": {"simulated_rescans": 3, "detector": "pretrained"},
    "pair": {"test_share": 0.2, "validation_share": 0.25},
}
"""The detector that ships sees change. Nobody is tested much: the real test are people who are kept aside."""
CREDITS = """
## Training data

No scan is among the files. Each was scanned again by simulated scanners, in its own contrast and, for most T1w heads,
in another one. The model learned from these rescans (`python -m benchmarks.make_starter_model`). Its weights hold the
mean of their fine detail, and eight combinations of differences between scans of one patient. None of these is one
scan or one patient: one patient gives at most .40 of a combination, and the cosine with what sets a single scan apart
from the others of its patient is at most .50, and .79 for the one that is the difference of two contrasts (the command
prints these figures). The template is that of heads, the mean of 20 label maps, which the package makes on the
grid of the model, so no image is among the files. The model brings no unchanged pairs: each pair of yours is compared
with simulated rescans of its own two scans.

| Data | People | Licence | Credit |
|---|---|---|---|
| ds002748 | 48, T1w, brain-extracted | CC0 | OpenNeuro |
| ds000011 | 7, T1w and T2w | PDDL 1.0 | OpenfMRI |
| open_ms | 2 with multiple sclerosis, FLAIR, T1w, T2w | CC BY | Lesjak et al., Neuroinformatics, 2016 |
| brain_tumor_progression | 5 with glioblastoma, T1wCE | CC BY 3.0 | Schmainda and Prah, 2018, The Cancer Imaging \
Archive, 10.7937/K9/TCIA.2018.15quzvnb |

These people were seen in training: no figure on them says how well the model does on others.
"""


def main() -> None:
    """Simulate the visits, train, and write the folder that ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--out", type=Path, default=STARTER)
    parser.add_argument("--without", nargs="*", default=[], metavar="PERSON", help="leave these people out")
    given = parser.parse_args()
    scans = [one for one in list_real_scans(given.real) if one.dataset in SHIPPED and one.person not in given.without]
    write_visits(given.folder / "visits", scans)
    config = configuration.load_config(None)
    config = config.model_copy(
        update={name: getattr(config, name).model_copy(update=changes) for name, changes in SETTINGS.items()}
    )
    study = verification.ingested(given.folder / "visits", given.folder, config)
    stages.prepare(study)
    stages.build_pairs(study)
    model = stages.train(study)
    write_starter(model, given.out)
    print_mode_sources(model, study)
    for name in sorted({*KEPT_FILES} - TIMED_FILES):
        print(files.compute_file_digest(given.out / name), name)


def write_visits(folder: Path, scans: Sequence[RealScan]) -> None:
    """Write the simulated visits of all people as a BIDS data set; a complete one is left as it is."""
    if (folder / "dataset_description.json").is_file():
        return
    people = sorted({one.person for one in scans})
    days: dict[int, list[str]] = defaultdict(list)
    for number, one in enumerate(scans):
        person, rng = people.index(one.person), np.random.default_rng([SEED, number])
        for contrast, visit in simulate_visits(one, rng):
            days[person].append(f"2020-{1 + len(days[person]) % 12:02d}-{1 + len(days[person]) // 12:02d}")
            _write(folder, person, len(days[person]), contrast, visit)
    bids_tree.write_bids_tables(folder, "real heads, simulated visits", days)


def simulate_visits(one: RealScan, rng: np.random.Generator) -> Iterator[tuple[str, Volume]]:
    """Scan a real head again: in its own contrast, and a T1w head in another one too."""
    scan = one.read()
    body = rescan.extract_body(_upright(scan))
    visits = OWN_VISITS if one.dataset in ("ds002748", "ds000011") else 1  # the others have several dates
    for _ in range(visits):
        machine = _draw_one(rescan.draw_rescan_scanners(body.spacing_mm, rng, one.contrast.removesuffix("CE")), rng)
        yield one.contrast, rescan.acquire_rescan(body, machine, rng).volume
    if one.contrast == "T1w":
        contrast = str(rng.choice(list(CURVES)))
        machine = _draw_one(rescan.draw_rescan_scanners(body.spacing_mm, rng, contrast), rng)
        curve = np.append(0.0, CURVES[contrast][1:] * np.exp(0.1 * rng.standard_normal(4)))
        yield contrast, rescan.acquire_rescan(body, machine, rng, None, curve).volume


def print_mode_sources(model: Path, study: Study) -> None:
    """Print how alike each mode of the atlas is to what sets a single training scan apart from its patient's others.

    A mode that one scan or one patient gives would be a picture of them. `share` is the part of a mode's energy over
    all training scans that one patient gives.
    """
    network = load_model(model).network
    prepared, pairs = stages.prepare(study).alignments, stages.build_pairs(study)
    scans = prepared[prepared.ok].merge(stages.scans(study)[["id", "subject"]], left_on="scan", right_on="id")
    training = pairs[pairs.split == "train"]
    scans = scans[scans.subject.isin({*training.subject_a, *training.subject_b})]
    paths = [study.data / volume for volume in scans.volume]
    with torch.inference_mode():
        loaded = (torch.from_numpy(np.load(path).astype(np.float32))[None, None] for path in paths)
        views = np.stack([network.atlas.view(network.cut(one)).flatten().numpy() for one in loaded])
    apart = pd.DataFrame(views).groupby(scans.subject.to_numpy()).transform(lambda one: one - one.mean()).to_numpy()
    for number, mode in enumerate(network.atlas.basis[1:].flatten(1).numpy(), 1):
        if not mode.any():
            continue
        along = apart @ (mode / np.linalg.norm(mode))
        cosine = np.abs(along) / np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
        energy = pd.Series(along**2).groupby(scans.subject.to_numpy()).sum()
        print(
            f"mode {number}: largest cosine with one scan {cosine.max():.2f}, share {energy.max() / energy.sum():.2f}"
        )


def _draw_one(machines: Sequence[Scanner], rng: np.random.Generator) -> Scanner:
    return machines[int(rng.integers(len(machines)))]


def _upright(source: Volume) -> Volume:
    """The source with its axes along the world's and its centre at the origin, so that its position is lost."""
    upright = volume.reorient_to_ras(source)
    affine: NDArray[np.float64] = np.diag([*upright.spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(upright.voxels.shape) - 1) / 2)
    return Volume(upright.voxels, affine)


def _write(folder: Path, person: int, visit: int, contrast: str, scan: Volume) -> None:
    """Write one visit; no scanner is named, since it says nothing of the real one."""
    name = f"sub-{person:03d}_ses-{visit:02d}"
    word = f"ce-gd_{contrast.removesuffix('CE')}" if contrast.endswith("CE") else contrast
    path = folder / f"sub-{person:03d}" / f"ses-{visit:02d}" / "anat" / f"{name}_{word}.nii.gz"
    voxels = np.round(np.asarray(scan.voxels, dtype=np.float32)).astype(np.int16)
    volume.write_volume(path, Volume(voxels, scan.affine))


def write_starter(model: Path, out: Path) -> None:
    """Copy what ships of a model folder, with empty noise floors; its template must be one that the package makes."""
    info, template = read_model_info(model), volume.read_volume(model / "template.nii.gz")
    if not is_head_template(template) or not np.allclose(template.affine, make_head_template(info.shape).affine):
        raise SystemExit(f"the template in {model} was made from scans, or lies on another grid: it cannot ship")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in KEPT_FILES:
        (out / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(model / name, out / name)
    nobody = RecordedNoiseFloor(strata=())
    made = {"head_template": True, "template_sha256": None}
    info = info.model_copy(update={"change_reference": nobody, "growth_reference": nobody, **made})
    files.write_json_file(out / MODEL_FILE, info.to_json_object())
    card.write_model_card(out, info, read_model_metrics(out))
    written = (out / "README.md").read_text(encoding="utf-8")
    files.write_text_file(out / "README.md", f"{written.rstrip()}\n{CREDITS}")
    write_bundle_files(out, info, TERMS)


if __name__ == "__main__":
    main()
