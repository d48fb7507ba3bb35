"""What one GPU does for training, comparing and embedding, in one run of less than 8 minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --precision bf16-mixed
    python -m benchmarks.gpu --device cpu --tiny          the same steps on toy sizes, to see that the script works

training     scans a second at 64^3, 96^3 and 128^3, with all augmentation: volumes are read from files as in a real
             training, augmented in batches on the device; then the share of the time in which the device computes
             (sum of its kernels over the clock, of a few profiled steps), and the peak of its memory
MONAI        the same network and step behind MONAI's loader: MONAI's nearest transforms, scan by scan, in processes
             on the CPU
pair         `siamese-med compare` of two simulated scans of 1 mm with the starter model, a whole process
embedding    10,000 scans of 64^3

Volumes are random, since only time is asked for. What needs a GPU is "not run here" without one.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset, set_track_meta
from monai.transforms import Compose
from torch import Tensor

from benchmarks import one_pair
from benchmarks.throughput import write_volumes
from benchmarks.transforms import KEY, list_rivals
from siamese_med.imaging import volume
from siamese_med.network import atlas
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, embed_scans, fit_edge_descriptor
from siamese_med.simulation import anatomy, scanner
from siamese_med.study.config import TrainConfig
from siamese_med.training import augmentation, batch_sampling, rank_batches
from siamese_med.training.batch_transforms import IMAGE, strip_meta

NOT_RUN = "not run here"
SCANS_PER_PATIENT = 4
PARTS = ("training", "pair", "embedding")


@dataclass(frozen=True)
class Sizes:
    """How much is done: edges of the volumes, scans on disk, steps, seconds of one measurement, scans to embed."""

    edges: tuple[int, ...] = (64, 96, 128)
    patients_per_batch: int = 16
    scans: int = 200
    warm_up: int = 5
    steps: int = 40
    profiled: int = 5
    seconds: float = 20.0
    embedded: int = 10_000
    embedded_edge: int = 64
    voxel_mm: float = 1.0


TINY = Sizes((16, 24, 32), 2, 24, 1, 2, 1, 20.0, 24, 16, 4.0)


@dataclass(frozen=True)
class Setting:
    """One network on its device, with its optimiser, and the scans that it is trained on."""

    config: TrainConfig
    fabric: Any
    model: Any
    optimizer: Any
    scans: ScanDataset

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step of identity training, as `identity_training` takes it."""
        loss = self.model.recipe(self.model(images), labels, None)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=1.0)
        self.optimizer.step()


Batches = Iterator[tuple[Tensor, Tensor]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    parser.add_argument("--precision", choices=("32-true", "16-mixed", "bf16-mixed"), default="32-true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of MONAI's loader")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here: --device cpu --tiny runs the same steps on toy sizes")
    sizes, started = TINY if given.tiny else Sizes(), time.perf_counter()
    name = torch.cuda.get_device_name() if given.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}, {given.precision}, {given.workers} workers; {sizes}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        if "training" in given.only:
            print_training(Path(folder), sizes, given.device, given.precision, given.workers)
        if "pair" in given.only:
            print(measure_pair(Path(folder), sizes), flush=True)
        if "embedding" in given.only:
            print(measure_embedding(Path(folder), sizes, given.device), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"in all {time.perf_counter() - started:.0f} s; peak memory of this process {peak:.2f} GB")


def print_training(folder: Path, sizes: Sizes, device: str, precision: str, workers: int) -> None:
    """A row for each edge: ours, and behind MONAI's loader."""
    columns = ("edge", "scans/s", "device busy", "peak GB of the device", "MONAI's loader, scans/s", "busy", "ratio")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for edge in sizes.edges:
        setting = make_setting(folder / str(edge), sizes, edge, device, precision)
        ours = measure_training(setting, sizes, stream_batches(setting))
        peak = f"{torch.cuda.max_memory_allocated() / 1e9:.2f}" if device == "cuda" else NOT_RUN
        theirs = measure_training(setting, sizes, load_with_monai(setting, workers))
        cells = [f"{edge}^3", f"{ours[0]:.1f}", ours[1], peak, f"{theirs[0]:.1f}", theirs[1], ours[0] / theirs[0]]
        print(f"| {' | '.join(cells[:-1])} | {cells[-1]:.1f} |", flush=True)  # type: ignore[arg-type]
    print(flush=True)


def make_setting(folder: Path, sizes: Sizes, edge: int, device: str, precision: str) -> Setting:
    """Random volumes on disk and a network before training."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    write_volumes(folder, sizes.scans, edge)
    paths = sorted(folder.glob("*.npy"))
    config = TrainConfig.model_validate(
        {"accelerator": device, "precision": precision, "patients_per_batch": sizes.patients_per_batch}
    )
    torch.manual_seed(0)
    network = SiameseNetwork(config, atlas.build_empty_atlas((edge,) * 3, ((0, edge),) * 3))
    network.change.requires_grad_(False)
    fabric = rank_batches.launch_fabric(config)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    model, optimizer = fabric.setup(network, torch.optim.AdamW(learning, lr=config.learning_rate))
    subjects = [str(number // SCANS_PER_PATIENT) for number in range(len(paths))]
    return Setting(config, fabric, model.train(), optimizer, ScanDataset(paths, subjects))


def stream_batches(setting: Setting) -> Batches:
    """Batches as `identity_training` makes them: read, moved to the device, and augmented there."""
    augment = augmentation.build_augmentation(setting.config)
    for number, chosen in enumerate(_draw_scans(setting)):
        batch = setting.fabric.to_device(setting.scans.load_batch(chosen))
        drawn = augment.set_random_state(seed=number)(batch)
        yield strip_meta(drawn[IMAGE]), batch["subject"]


def _draw_scans(setting: Setting) -> Iterator[np.ndarray]:
    config, rng = setting.config, np.random.default_rng(0)
    sizes = config.patients_per_batch, config.scans_per_patient
    for _ in itertools.count():
        for batch in batch_sampling.sample_by_patient(list(setting.scans.labels), *sizes, 1, rng):
            yield batch.scans


def load_with_monai(setting: Setting, workers: int) -> Batches:
    """Batches of MONAI's loader: each scan is read and changed by itself, in a process on the CPU."""
    set_track_meta(False)
    theirs = list_rivals()[-1].monai
    items = [
        {KEY: str(path), "subject": int(label)}
        for path, label in zip(setting.scans.volumes, setting.scans.labels, strict=True)
    ]
    chosen = [scan for batch in itertools.islice(_draw_scans(setting), 1000) for scan in batch]
    size = setting.config.patients_per_batch * setting.config.scans_per_patient
    loader = DataLoader(
        Dataset([items[scan] for scan in chosen], Compose([_read_item, theirs])),
        batch_size=size,
        num_workers=workers,
    )
    for batch in loader:
        moved = setting.fabric.to_device({KEY: torch.as_tensor(batch[KEY]), "subject": batch["subject"]})
        yield moved[KEY], moved["subject"]


def _read_item(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, KEY: torch.from_numpy(np.load(item[KEY]).astype(np.float32))[None]}


def measure_training(setting: Setting, sizes: Sizes, batches: Batches) -> tuple[float, str]:
    """Scans a second, and the share of time in which the device computes; ends with the steps or the seconds."""
    for images, labels in itertools.islice(batches, sizes.warm_up):
        setting.step(images, labels)
    _wait(setting)
    started, seen = time.perf_counter(), 0
    for images, labels in itertools.islice(batches, sizes.steps):
        setting.step(images, labels)
        seen += len(images)
        if time.perf_counter() - started > sizes.seconds:
            break
    _wait(setting)
    return seen / (time.perf_counter() - started), _measure_busy_share(setting, sizes, batches)


def _measure_busy_share(setting: Setting, sizes: Sizes, batches: Batches) -> str:
    if setting.fabric.device.type != "cuda":
        return NOT_RUN
    from torch.profiler import ProfilerActivity, profile

    started = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for images, labels in itertools.islice(batches, sizes.profiled):
            setting.step(images, labels)
        _wait(setting)
        spent = time.perf_counter() - started
    computing = sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6
    return f"{100 * computing / spent:.0f} %"


def _wait(setting: Setting) -> None:
    if setting.fabric.device.type == "cuda":
        torch.cuda.synchronize()


def measure_pair(folder: Path, sizes: Sizes) -> str:
    """Seconds of one comparison from the command line, from its start to its end."""
    rng = np.random.default_rng(0)
    person = anatomy.simulate_anatomy(rng, 1.0)
    paths = [folder / name for name in one_pair.SCANS]
    for path, machine in zip(paths, scanner.draw_scanners(rng, 2), strict=True):
        fine = replace(machine, pixel_mm=sizes.voxel_mm, slice_mm=sizes.voxel_mm)
        volume.write_volume(path, scanner.acquire_scan(person, fine, rng).volume)
    command = [sys.executable, "-m", "siamese_med", "compare", *map(str, paths), "--json", "--quiet"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - started
    said = "" if done.returncode == 0 else f", exit code {done.returncode}: {done.stderr.strip()[-200:]}"
    return f"one pair of {sizes.voxel_mm:g} mm, end to end: {spent:.1f} s{said}"


def measure_embedding(folder: Path, sizes: Sizes, device: str) -> str:
    """Seconds to embed many scans from files, and memory."""
    edge = sizes.embedded_edge
    setting = make_setting(folder / "embedded", replace(sizes, scans=sizes.embedded), edge, device, "32-true")
    few = setting.scans.part(np.arange(min(40, sizes.embedded)))
    network = SiameseNetwork(setting.config, atlas.build_empty_atlas((edge,) * 3, ((0, edge),) * 3))
    fit_edge_descriptor(network, few)
    network = network.to(setting.fabric.device)
    started = time.perf_counter()
    embed_scans(network, setting.scans)
    spent = time.perf_counter() - started
    peak = f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if device == "cuda" else NOT_RUN
    return f"embedding of {sizes.embedded} scans of {edge}^3: {spent:.1f} s; peak memory of the device: {peak}"


if __name__ == "__main__":
    main()
