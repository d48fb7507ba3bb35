"""The one configuration: typed, frozen, unknown keys refused; a TOML file overrides it.

A function gets its own section, never the whole. `siamese-med config` prints the effective values.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.study.config_section import ConfigSection
from siamese_med.study.plugin_names import (
    AUTO,
    Arguments,
    DetectorName,
    EncoderName,
    LossName,
    ReasonName,
    RegistrationName,
    TransformName,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Size3 = tuple[Count, Count, Count]
Accelerator = Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto takes a GPU where there is one")]


DEMO_CONFIG = """\
# A demo has minutes: its network learns for a short while only, the plain residual looks for change, on coarse voxels.
[train]
epochs = 4
change_steps = 0

[score]
spacing_mm = 3.0
"""
"""Settings of `siamese-med demo` where it is given no config."""
DEMO_OWN_MODEL_CONFIG = """
# The demo's own model is used at once: not compared with the starter model, which would take as long again.
[promote]
starter_model = false
"""
"""Settings of the demo beside DEMO_CONFIG, for a cohort that can train a model."""
MIN_DEMO_TRAINING_PATIENTS = 8
"""Fewer patients leave fewer than two for validation, so that a demo of them has the starter model alone."""


class IngestConfig(ConfigSection):
    """How files become scans."""

    secret_file: Path | None = Field(None, description="pseudonym secret; default: in the user's config folder")
    database: str | None = Field(None, description="SQLAlchemy URL; default: catalogue.sqlite under --data")
    workers: int = Field(0, ge=0, description="processes; 0 means one a core")
    min_slices: Count = Field(3, description="fewer slices than this is no volume")
    max_gigabytes: Positive = Field(4.0, description="refuse volumes that would take more memory than this")
    timeout_s: Positive = Field(120.0, description="a series whose decoding takes longer is given up")
    volume_of_4d: Literal["refuse", "first", "mean"] = Field("refuse", description="what to take from a 4D series")
    compress: bool = Field(
        True, description="write scans as .nii.gz; false: as .nii, larger and sooner written and read"
    )
    transfer_timeout_s: Positive = Field(60.0, description="a PACS that says nothing for so long is given up")
    transfer_tries: Count = Field(4, description="of each request to a PACS, after 1, 2, 4 ... seconds")
    reasons: dict[ReasonName, Arguments] = Field({}, description="checks of your own by name, with their arguments")
    deface: bool | None = Field(None, description="remove faces from heads; default: as the study's last ingest, or no")

    ONLY_WHERE_SET: ClassVar[frozenset[str]] = frozenset({"reasons", "compress", "deface"})


class PrepareConfig(ConfigSection):
    """How scans become aligned volumes on one grid."""

    shape: Size3 = Field((64, 64, 64), description="voxels of the grid: left-right, back-front, foot-head")
    spacing_mm: Positive | None = Field(None, description="voxel edge; default: scans fill the grid, 3 mm at most")
    template: Path | None = Field(None, description="NIfTI to align to; default: the study's or the model's")
    head_template: bool = Field(True, description="align scans of heads to the template of real heads")
    transform: Literal["rigid", "affine"] | None = Field(
        None, description="6 or 12 degrees of freedom to the study's own template; rigid by default"
    )
    registration: RegistrationName = Field("correlation_ratio", description="of a scan to the template; or a plug-in")
    registration_args: Arguments = Field({}, description="arguments of the registration")
    min_quality: Fraction = Field(0.05, description="share of the variance lost when an aligned scan is moved a little")
    batch_size: Count = Field(4, description="scans aligned together")
    accelerator: Accelerator = "auto"

    ONLY_WHERE_SET: ClassVar[frozenset[str]] = frozenset({"registration", "registration_args"})
    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}


class PairConfig(ConfigSection):
    """How scans become pairs; patients are split first."""

    seed: int = Field(0, description="of the split and of the pairs of two patients")
    validation_share: Fraction = Field(0.25, description="share of patients for stopping and calibration")
    test_share: Fraction = Field(0.25, description="share of the patients kept for the final test")
    negatives_per_positive: Positive = Field(1.0, description="different-patient pairs per same-patient pair")
    hard_negative_share: Fraction = Field(0.5, description="share of those with the same scanner and protocol")
    rescan_days: int = Field(1, ge=0, description="visits this close count as rescans without change")

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {
        "validation": "validation_share",
        "test": "test_share",
        "negatives": "negatives_per_positive",
        "hard": "hard_negative_share",
    }

    @model_validator(mode="after")
    def leaves_patients_to_train_on(self) -> PairConfig:
        """Validation and test together must leave someone to learn from."""
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share must be below 1")
        return self


class TrainConfig(ConfigSection):
    """How pairs become a model."""

    loss: LossName = Field("supcon", description="the loss: supcon, bce, contrastive, triplet, or a plug-in")
    loss_args: Arguments = Field({}, description="arguments of the loss, where it is a plug-in")
    sampling: Literal["batch", "pairs"] = Field(
        "batch", description="all pairs of a batch, or the explicit pairs alone"
    )
    encoder: EncoderName = Field(
        "compact", description="compact, resnet10, resnet18, densenet121, monai, bundle, or a plug-in"
    )
    encoder_args: Arguments = Field({}, description="arguments of the encoder: monai, bundle, or a plug-in")
    width: Count = Field(16, description="channels of the shared trunk's first stage")
    embedding_size: Count = Field(256, description="numbers that the learned part of an embedding has")
    margin: Positive = Field(1.0, description="of the contrastive and the triplet loss, in embedding units")
    temperature: Positive = Field(0.2, description="of the supervised-contrastive loss")
    miner: Literal["batch_hard", "semihard"] = Field("batch_hard", description="of the triplet loss")
    patients_per_batch: Count = Field(16, description="of identity training, over all processes together")
    scans_per_patient: Count = Field(2, description="of each patient in a batch")
    epochs: Count = Field(8, description="of identity training, at most")
    steps_per_epoch: Count = Field(8, description="batches between two looks at the validation patients")
    patience: Count = Field(4, description="epochs without a better validation loss")
    learning_rate: Positive = Field(1e-3, description="of identity training")
    weight_decay: float = Field(0.01, ge=0, description="of identity training")
    augmentation_strength: float = Field(0.5, ge=0, description="strength of random acquisition effects; 0 is none")
    anatomy_warp_voxels: float = Field(0.5, ge=0, description="warp that makes a new anatomy of a known one; 0: none")
    transform: TransformName | None = Field(None, description="plug-in that augments each training scan further")
    transform_args: Arguments = Field({}, description="arguments of the transform")
    change_steps: int = Field(600, ge=0, description="of learning to see change; 0 leaves the detectors that ship")
    change_patches: Count = Field(3, description="synthesised follow-ups a step")
    change_learning_rate: Positive = Field(2e-3, description="of learning to see change")
    change_sources: Count = Field(48, description="pairs and single scans that follow-ups are made of, at most")
    change_marked_share: Fraction = Field(0.5, description="share of change training from pairs with marked changes")
    accelerator: Accelerator = "auto"
    devices: Count = Field(1, description="processes a host: one a GPU, or on the CPU where it has none")
    hosts: Count = Field(1, description="that train together; see docs/scale.md for what to start on the others")
    rendezvous: str | None = Field(None, pattern=r"^[^\s:]+:\d+$", description="host:port at which several hosts meet")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field(
        "32-true", description="of numbers in training, as Lightning Fabric names it"
    )
    seed: int = Field(0, description="of everything that training draws at random")

    ONLY_WHERE_SET: ClassVar[frozenset[str]] = frozenset(
        {"loss_args", "encoder_args", "transform", "transform_args", "change_marked_share"}
    )
    FORMER_KEYS: ClassVar[Mapping[str, str]] = {
        "recipe": "loss",
        "embedding": "embedding_size",
        "augmentation": "augmentation_strength",
        "new_people": "anatomy_warp_voxels",
        "change_rate": "change_learning_rate",
    }

    @property
    def ranks(self) -> int:
        """Processes that train together; the batch is theirs together, whatever their number."""
        return self.devices * self.hosts

    def fingerprint(self) -> str:
        """As of any section, but for where the work is done: several devices or hosts make the same model as one."""
        return self.digest(exclude={"accelerator", "devices", "hosts", "rendezvous"})

    @model_validator(mode="after")
    def hosts_meet_somewhere(self) -> TrainConfig:
        """Several hosts find each other at an address that all of them know."""
        if self.hosts > 1 and self.rendezvous is None:
            raise ValueError("more than one host needs a rendezvous, host:port")
        return self


class PromoteConfig(ConfigSection):
    """When a newly trained model may replace the current one."""

    max_auc_loss: Fraction = Field(0.01, description="how far an AUC may lie below the best so far")
    min_patients: int = Field(4, ge=2, description="fixed validation patients; with fewer no model is promoted")
    starter_model: bool = Field(True, description="begin with the model that comes with siamese-med")

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"margin": "max_auc_loss"}

    def fingerprint(self) -> str:
        """Twelve hex digits of what a decision depends on: with which model a study begins is no part of it."""
        return self.digest(exclude={"starter_model"})


class ScoreConfig(ConfigSection):
    """How pairs become scores."""

    detector: DetectorName = Field(
        AUTO, description="auto, residual, pretrained, network, or a plug-in; of the next model"
    )
    detector_args: Arguments = Field({}, description="arguments of the detector, where it is a plug-in")
    false_match_rate: Fraction = Field(0.01, description="rate of wrong matches at the similarity threshold")
    spacing_mm: Positive = Field(1.5, description="voxel edge at which change is measured")
    smoothing_mm: Positive = Field(2.0, description="standard deviation of the smoothing of the residual")
    significance: OpenFraction = Field(0.05, description="p below which a change is called one")
    simulated_rescans: int = Field(
        16, ge=3, description="simulated pairs of each contrast, where real ones are too few"
    )
    min_overlap: Fraction = Field(0.6, description="share of the brain or body that both scans must show")
    min_pose_quality: Fraction = Field(0.05, description="how much worse two scans must fit when one is moved a little")
    accelerator: Accelerator = "auto"

    ONLY_WHERE_SET: ClassVar[frozenset[str]] = frozenset({"detector", "detector_args"})
    RETIRED_KEYS: ClassVar[Mapping[str, str]] = {"min_pair_quality": "min_pose_quality, another figure"}

    def measurement_fingerprint(self) -> str:
        """Twelve hex digits of what the measurement of a pair depends on; verdicts are worked out anew each time.

        The detector is the model's, see `TrainedModel.instrument`.
        """
        others = {"detector", "detector_args"}
        return self.digest(exclude={"false_match_rate", "significance", "simulated_rescans", "accelerator", *others})

    def calibration_fingerprint(self) -> str:
        """Twelve hex digits of what the calibration and the noise floors of a model depend on."""
        return self.digest(exclude={"significance", "min_overlap", "min_pose_quality", "accelerator"})


class ReportConfig(ConfigSection):
    """What the pages show."""

    title: str = Field("Change report", max_length=80, description="title over the pages")
    pictures_per_pair: int = Field(8, ge=1, le=12, description="slices that a page shows of each pair")
    response: Literal["none", "rano", "recist"] = Field(
        "none", description="by which rule of volumes the lesion load is assessed"
    )
    url: str | None = Field(None, pattern=r"^https?://[^\s()<>]+$", description="where the reports are served, if so")
    learn_from_answers: bool = Field(True, description="list findings of a kind that readers rejected apart")


class RunConfig(ConfigSection):
    """How recorded runs are carried out, and when they start by themselves."""

    dask: str | None = Field(None, description="address of a Dask scheduler that shares work, tcp://HOST:8786 say")
    nightly: str = Field("0 2 * * *", description="cron of the nightly run under `serve`; empty: never by itself")
    retrain: str = Field("0 4 * * 0", description="cron of the weekly retraining; empty: never by itself")
    timezone: str = Field("UTC", description="of both, such as Europe/Berlin")
    trusted_plugins: tuple[str, ...] = Field((), description="what a model may import beside what this file names")


class Config(ConfigSection):
    """All sections, in the order of the stages."""

    ingest: IngestConfig = IngestConfig()
    prepare: PrepareConfig = PrepareConfig()
    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    promote: PromoteConfig = PromoteConfig()
    score: ScoreConfig = ScoreConfig()
    report: ReportConfig = ReportConfig()
    run: RunConfig = RunConfig()


SECTIONS: Mapping[str, type[ConfigSection]] = {
    "ingest": IngestConfig,
    "prepare": PrepareConfig,
    "pair": PairConfig,
    "train": TrainConfig,
    "promote": PromoteConfig,
    "score": ScoreConfig,
    "report": ReportConfig,
    "run": RunConfig,
}
"""The class of each section."""


def load_config(path: Path | str | None) -> Config:
    """Read a TOML file over the defaults.

    Keys may have their former names; then one line on standard error says what they are called now.

    Raises
    ------
    ConfigError, MissingFileError
        In one line.
    """
    if path is None:
        return Config()
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no config file at {path}: check --config")
    values = read_toml(path, str(path))
    if renamed := list_former_keys(values):
        sys.stderr.write(f"{path}: {', '.join(renamed)}: please rename\n")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}: see `siamese-med config` for what may be set") from error


def list_former_keys(values: Mapping[str, Any]) -> list[str]:
    """List the keys of a configuration that have new names now.

    Examples
    --------
    >>> list_former_keys({"train": {"recipe": "bce", "epochs": 4}})
    ['train.recipe is now train.loss']
    """
    found = []
    for name, section in SECTIONS.items():
        given = values.get(name)
        if isinstance(given, dict):
            renamed = section.FORMER_KEYS.items()
            found += [f"{name}.{former} is now {name}.{key}" for former, key in renamed if former in given]
            retired = section.RETIRED_KEYS.items()
            found += [f"{name}.{key} is not used any more: see {name}.{new}" for key, new in retired if key in given]
    return found


def read_toml(path: Path, called: str) -> dict[str, Any]:
    """Read the values of a TOML file, which an error names as `called`; raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{called} is not TOML ({error}): see `siamese-med config` for a valid one") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "file"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}'"
    return f"'{where}' {problem['msg'][0].lower()}{problem['msg'][1:]}"
