"""What a night costs, and what memory each stage takes, as a study grows: thumbnails of scans, simulated.

    python -m benchmarks.growing_study FOLDER --patients 50 500 2000 [--new 100]

A scan is a crop of 24 x 24 x 20 voxels of 2 mm, a smooth random body that is the patient's own, with noise: so small
that not the scans' own work is measured but what the study costs beside it. The study has two visits a patient, and
grows from each number of patients to the next. At each size a fresh process runs all stages over the whole input
three times: with what is new since the last size, with nothing new, and with a third visit of `--new` patients. The
model is one of forty other thumbnails. FOLDER is kept, and a run that was ended is not made again.

Seconds are of CPU (user and system) with all children, imports included; memory is of all processes at one moment.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import nightly, processes
from benchmarks.nightly import Run, Spent
from siamese_med.pipeline import stages
from siamese_med.pipeline.stage_results import RunRequest, run_stages_in_order, select_stages
from siamese_med.runtime.files import write_json_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE, EDGE_MM = (24, 24, 20), 2.0
MODEL_PATIENTS, MODEL_SEED, SEED = 40, 99, 1
SETTINGS = """
[train]
epochs = 2
change_steps = 0

[score]
spacing_mm = 4.0
detector = "residual"

[promote]
starter_model = false
"""


def write_thumbnails(folder: Path, patients: Sequence[int], visits: Sequence[int], seed: int) -> None:
    """Write visits of patients into a BIDS tree; those that are there stay as they are."""
    common = draw_smooth_field(np.random.default_rng([seed, 0]), 2.5)
    for patient in patients:
        body = None
        for visit in visits:
            name = f"sub-{patient:05d}_ses-{visit}"
            path = folder / f"sub-{patient:05d}" / f"ses-{visit}" / "anat" / f"{name}_T1w.nii.gz"
            if path.is_file():
                continue
            if body is None:
                body = draw_body(common, np.random.default_rng([seed, 1, patient]))
            write_thumbnail(path, body, np.random.default_rng([seed, 2, patient, visit]))
    write_json_file(folder / "dataset_description.json", {"Name": "thumbnails", "BIDSVersion": "1.8.0"})


def draw_smooth_field(random: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    """Draw smoothed noise of SHAPE with a standard deviation of one."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(random.normal(size=SHAPE), sigma)
    return np.asarray(field / field.std())


def draw_body(common: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Draw the brightness of a patient: what all have in common, and what this one has alone, inside a box."""
    from scipy.ndimage import gaussian_filter

    box = np.zeros(SHAPE)
    box[3:-3, 3:-3, 3:-3] = 1
    return np.asarray(gaussian_filter(box, 0.7) * (300 + 60 * common + 60 * draw_smooth_field(random, 1.6)))


def write_thumbnail(path: Path, body: NDArray[np.float64], random: np.random.Generator) -> None:
    """Write one scan of a body, with noise and a shift of its own."""
    import nibabel

    affine = np.diag([EDGE_MM, EDGE_MM, EDGE_MM, 1.0])
    affine[:3, 3] = random.normal(size=3) * EDGE_MM
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.clip(body + random.normal(size=SHAPE) * 6, 0, None).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def make_model(folder: Path, settings: Path) -> Path:
    """Train the model on thumbnails of other patients; made once."""
    own = nightly.study(folder, settings)
    if not any(own.models.glob("*/model.json")):
        write_thumbnails(folder / "input", range(MODEL_PATIENTS), (1, 2), MODEL_SEED)
        run_stages_in_order(("ingest", "prepare", "pair"), RunRequest(own, folder / "input"))
        return stages.train(own)
    return next(own.models.glob("*/model.json")).parent


def run_once(kept: Path, source: Path, folder: Path, settings: Path, model: Path) -> Run:
    """Run all stages in a fresh process, or read what was measured when that was done before."""
    if not kept.is_file():
        write_json_file(kept, asdict(nightly.run(source, folder, settings, model)))
    told = json.loads(kept.read_text())
    return Run(tuple(Spent(**one) for one in told["stages"]), told["peak"])


def measure(asked: argparse.Namespace) -> list[tuple[int, dict[str, Run]]]:
    """Grow the study from size to size; return its scans and the runs at each."""
    folder = asked.folder.absolute()
    settings = processes.settings(folder / "settings")
    settings.write_text(settings.read_text(encoding="utf-8") + SETTINGS, encoding="utf-8")
    model = make_model(folder / "model", settings)
    source, study, figures = folder / "input", folder / "study", folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    found = []
    for size in sorted(asked.patients):
        new = min(asked.new, size)
        runs = {}
        for name in ("grown", "nothing new", f"{new} new scans"):
            kept = figures / f"{size}-{name.replace(' ', '-')}.json"
            if not kept.is_file():
                visits = (1, 2) if name in ("grown", "nothing new") else (3,)
                write_thumbnails(source, range(size if len(visits) > 1 else new), visits, SEED)
            runs[name] = run_once(kept, source, study, settings, model)
        found.append((2 * size + new, runs))
    return found


def print_tables(found: Sequence[tuple[int, dict[str, Run]]]) -> None:
    """Print CPU-seconds and peak memory by stage, a column for each run."""
    names = [f"{scans} scans, {name}" for scans, runs in found for name in runs]
    every = [run for _, runs in found for run in runs.values()]
    for title, show in (("CPU-s", _show_seconds), ("peak memory, MB", _show_memory)):
        print(f"| {title} | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
        for stage in ("start", *select_stages(Path()), "all"):
            print(f"| {stage} | {' | '.join(show(run, stage) for run in every)} |")
        print()


def _show_seconds(run: Run, stage: str) -> str:
    return f"{run.of(stage).cpu_s:.1f}"


def _show_memory(run: Run, stage: str) -> str:
    return f"{(run.peak if stage == 'all' else run.of(stage).peak) / 1e6:.0f}"


def main() -> None:
    """Print what each size costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, nargs="+", default=[50, 500, 2000], help="sizes to grow to")
    parser.add_argument("--new", type=int, default=100, help="third visits that arrive in a night")
    print_tables(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
