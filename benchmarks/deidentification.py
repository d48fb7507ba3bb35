"""De-identification counted by item, as the MIDI-B challenge does: what had to go is gone, what had to stay is there.

    python -m benchmarks.deidentification [--people 10] [--keep FOLDER] [--list]

Invented people get three series each, in two examinations. Values are planted in their headers: elements that the Basic
Profile removes or replaces (DICOM PS3.15, table E.1-1), the same within sequences, private groups, overlays and curves,
names in elements of other kinds and in other character sets, file meta information, and names of files and folders. No
planted value occurs twice. The command line ingests the export; then every byte that it left is searched for every
value: tables, JSON, TSV, HTML, the database, NIfTI (opened), names of files, and what it printed. What must stay is
looked for in what ingest wrote: voxels, geometry, modality, contrast, acquisition, and which scans have one patient,
visit, scanner, protocol and which interval.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from benchmarks.privacy import hits
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.simulation import dicom_series, scanner
from siamese_med.simulation.dicom_series import PatientIdentity, SimulatedExamination

if TYPE_CHECKING:
    import pandas as pd

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
ELEMENTS = {
    "names": """
        PatientName OtherPatientNames PatientBirthName PatientMotherBirthName ReferringPhysicianName
        PerformingPhysicianName OperatorsName NameOfPhysiciansReadingStudy RequestingPhysician
        PhysiciansOfRecord ScheduledPerformingPhysicianName ConsultingPhysicianName ResponsiblePerson""",
    "identifiers": """
        PatientID IssuerOfPatientID AccessionNumber StudyID DeviceSerialNumber AdmissionID
        RequestedProcedureID PlateID DetectorID GantryID CassetteID DeviceID InsurancePlanIdentification
        MilitaryRank ServiceEpisodeID FillerOrderNumberImagingServiceRequest
        PlacerOrderNumberImagingServiceRequest PerformedProcedureStepID ScheduledProcedureStepID
        MedicalRecordLocator OtherPatientIDs""",
    "dates": """
        StudyDate SeriesDate AcquisitionDate ContentDate PatientBirthDate InstanceCreationDate AdmittingDate
        PerformedProcedureStepStartDate DateOfLastCalibration DateOfLastDetectorCalibration LastMenstrualDate
        ScheduledProcedureStepStartDate IssueDateOfImagingServiceRequest DischargeDate""",
    "times": """
        StudyTime SeriesTime AcquisitionTime ContentTime InstanceCreationTime PatientBirthTime""",
    "UIDs": """
        StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID SynchronizationFrameOfReferenceUID
        IrradiationEventUID DimensionOrganizationUID ConcatenationUID DeviceUID InstanceCreatorUID
        StorageMediaFileSetUID""",
    "addresses and institutions": """
        PatientAddress InstitutionAddress PatientTelephoneNumbers ReferringPhysicianAddress CountryOfResidence
        ReferringPhysicianTelephoneNumbers RegionOfResidence InstitutionName InstitutionalDepartmentName
        StationName ScheduledStationAETitle RequestingService CurrentPatientLocation
        PatientInstitutionResidence PerformedStationName PerformedLocation""",
    "free text": """
        StudyDescription PatientComments ImageComments AdditionalPatientHistory StudyComments ProtocolName
        RequestedProcedureDescription Allergies MedicalAlerts Occupation ReasonForStudy DerivationDescription
        AcquisitionComments VisitComments FrameComments AdmittingDiagnosesDescription
        AcquisitionDeviceProcessingDescription PerformedProcedureStepDescription
        CommentsOnThePerformedProcedureStep RequestedProcedureComments PatientState SpecialNeeds
        DischargeDiagnosisDescription IdentifyingComments InterpretationText ImagePresentationComments
        ReasonForTheRequestedProcedure PatientReligiousPreference EthnicGroup""",
}
"""Elements that the Basic Profile removes, empties or replaces, by category (DICOM PS3.15, table E.1-1)."""
SCRIPTS = {"ISO_IR 126": "Παπαδόπουλος", "ISO_IR 144": "Смирнова", "ISO_IR 192": "王小東", "ISO_IR 100": "Müßøren"}
"""Specific character sets, each with a name that needs it."""
SET_ALREADY = {
    "PatientName", "PatientID", "IssuerOfPatientID", "DeviceSerialNumber", "StudyDate", "SeriesDate",
    "AcquisitionDate", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID",
}  # fmt: skip
"""Elements that must be right for ingest; each person or examination has a planted value in them."""
PROTOCOLS = ("T1w", "FLAIR", "T2w")
FIELDS = {"RepetitionTime": 1000, "EchoTime": 1000, "InversionTime": 1000, "FlipAngle": 1, "SliceThickness": 1,
          "MagneticFieldStrength": 1}  # fmt: skip
"""Elements of the acquisition that must stay, and by what BIDS divides them: times are in seconds."""
MACHINES = (
    ("SIEMENS", "Prisma_fit", "Siemens", "Prisma"), ("GE MEDICAL SYSTEMS", "DISCOVERY MR750", "GE", "Discovery"),
    ("Philips Medical Systems", "Ingenia", "Philips", "Ingenia"), ("TOSHIBA", "Titan3T", "Toshiba", "Titan"),
)  # fmt: skip
"""Maker and model as headers name them, and what must stay of them."""
INTERVAL_DAYS = 200


@dataclass
class Planted:
    """What was planted: values by category, and what is true of each series, by its order in the export."""

    gone: dict[str, list[str]] = field(default_factory=dict)
    series: list[dict[str, Any]] = field(default_factory=list)

    def add(self, category: str, value: str) -> str:
        """Note a value that must not be found; returns it."""
        self.gone.setdefault(category, []).append(value)
        return value


class Inventor:
    """Makes values that occur once, and can be found: long enough, and part of no other."""

    def __init__(self, seed: int) -> None:
        self._rng, self._used = np.random.default_rng(seed), set[str]()

    def value(self, category: str) -> str:
        """A value of the form that the elements of a category ask for."""
        forms = {"dates": self.day, "times": self.clock, "UIDs": generate_uid}
        return (
            str(forms[category]())
            if category in forms
            else f"{self.word()}^{self.word()}"[: 19 if category == "names" else 9]
        )

    def word(self) -> str:
        """Nine letters."""
        while (made := "".join(self._rng.choice(list(LETTERS), 9))) in self._used:
            pass
        self._used.add(made)
        return made

    def day(self) -> str:
        """A day of a time when nobody lives, so that it is no shifted one."""
        while (
            made := (date(1903, 1, 1) + timedelta(int(self._rng.integers(12_000)))).strftime("%Y%m%d")
        ) in self._used:
            pass
        self._used.add(made)
        return made

    def clock(self) -> str:
        """A time of day to the microsecond."""
        return f"{self._rng.integers(10, 23)}{self._rng.integers(10, 59)}{self._rng.integers(10, 59)}." + "".join(
            map(str, self._rng.integers(1, 9, 6))
        )


def plant(dataset: Dataset, invent: Inventor, found: Planted) -> None:
    """Plant values of every category in one header; those that ingest needs to be right stay as they are."""
    for category, listed in ELEMENTS.items():
        for keyword in (one for one in listed.split() if one not in SET_ALREADY):
            if category == "free text":
                setattr(dataset, keyword, f"seen by {found.add(category, invent.word())} today")
            else:
                setattr(dataset, keyword, found.add(category, invent.value(category)))
    dataset.SeriesDescription = f"{dataset.SeriesDescription} {found.add('free text', invent.word())}"
    _plant_nested(dataset, invent, found)
    _plant_private(dataset, invent, found)
    for group, names in ((0x6000, (0x0022, 0x1500, 0x4000)), (0x5000, (0x0022, 0x2500, 0x4000))):
        for element in names:
            dataset.add_new((group, element), "LO", found.add("overlays and curves", invent.word()))
    for tag, kind in ((0x00080056, "CS"), (0x00181020, "LO"), (0x00181004, "LO"), (0x00180015, "CS"),
                      (0x00080119, "UC"), (0x00081190, "UR"), (0x00104000, "LT")):  # fmt: skip
        dataset.add_new(tag, kind, found.add("names in other elements", invent.word()))
    for tag in (0x0018A0F1, 0x0018A0F2):
        dataset.add_new(tag, "UN", found.add("names in other elements", invent.word()).encode() + b" ")
    dataset.add_new(0xFFFCFFFC, "OB", found.add("names in other elements", invent.word()).encode() + b" ")


def _plant_nested(dataset: Dataset, invent: Inventor, found: Planted) -> None:
    for keyword in (
        "ReferencedStudySequence", "RequestAttributesSequence", "OtherPatientIDsSequence", "SourceImageSequence",
        "OriginalAttributesSequence", "PerformedProtocolCodeSequence", "ReferencedImageSequence",
        "PatientSizeCodeSequence", "InstitutionCodeSequence",
    ):  # fmt: skip
        inner, item = Dataset(), Dataset()
        inner.PatientName = found.add("nested", f"{invent.word()}^{invent.word()}")
        inner.PatientComments = found.add("nested", invent.word())
        item.ReferencedSOPInstanceUID = found.add("nested", generate_uid())
        item.PatientID = found.add("nested", invent.word())
        item.add_new(0x00110010, "LO", found.add("nested", invent.word()))
        item.ModifiedAttributesSequence = [inner]
        setattr(dataset, keyword, [item])


def _plant_private(dataset: Dataset, invent: Inventor, found: Planted) -> None:
    for group, creator in ((0x0013, "ACME SITE"), (0x0029, "SIEMENS CSA HEADER"), (0x7FE1, "ELSCINT1")):
        block = dataset.private_block(group, creator, create=True)
        for element, kind in ((0x01, "LO"), (0x02, "PN"), (0x03, "LT"), (0x04, "UN"), (0x05, "OB"), (0x06, "UI")):
            value = generate_uid() if kind == "UI" else invent.word()
            found.add("private", value)
            block.add_new(element, kind, value.encode() + b" " * (len(value) % 2) if kind in ("UN", "OB") else value)


def write_export(folder: Path, people: int, seed: int = 0) -> Planted:
    """Write three series each of some invented people, and return what was planted in them."""
    rng, invent, found = np.random.default_rng(seed), Inventor(seed), Planted()
    machines = scanner.draw_scanners(rng, len(MACHINES), PROTOCOLS)
    serials = [found.add("identifiers", invent.word()) for _ in MACHINES]
    for number in range(people):
        charset, script = list(SCRIPTS.items())[number % len(SCRIPTS)]
        word, identifier, issuer = invent.word(), invent.word(), invent.word()
        name, born = f"{script}{word}^{invent.word()}", invent.day()
        found.add("character sets", f"{script}{word}")
        for category, value in (("names", word), ("identifiers", identifier), ("identifiers", issuer), ("dates", born)):
            found.add(category, value)
        person = PatientIdentity(word, identifier, born, "F" if number % 2 else "M")
        first = date(1950, 1, 1) + timedelta(int(rng.integers(9000)))
        for visit, which in ((0, 0), (0, 1), (1, 0)):
            day = (first + timedelta(INTERVAL_DAYS * visit)).strftime("%Y%m%d")
            found.add("dates", day)
            machine = (number + visit) % len(MACHINES)
            place = folder / found.add("paths", invent.word()) / found.add("paths", invent.word())
            examination = SimulatedExamination(day, f"{seed}-{number}-{visit}")
            _write_series(
                place,
                (machines[machine], machine, PROTOCOLS[which]),
                (person, name, issuer, charset),
                examination,
                (invent, found, serials),
                rng,
            )
            found.series[-1] |= {"person": number, "visit": visit, "day": day}
    return found


def _write_series(
    place: Path, how: tuple[scanner.Scanner, int, str], who: tuple[PatientIdentity, str, str, str],
    visit: SimulatedExamination, planted: tuple[Inventor, Planted, Sequence[str]], rng: np.random.Generator,
) -> None:  # fmt: skip
    invent, found, serials = planted
    person, name, issuer, charset = who
    place.mkdir(parents=True)
    affine = np.diag([*rng.uniform(0.8, 2.0, 2).round(3), round(float(rng.uniform(1, 5)), 3), 1.0])
    affine[:3, 3] = rng.uniform(-80, 80, 3).round(2)
    voxels = rng.integers(1, 4000, (18, 16, 5)).astype(np.float32)
    machine = replace(how[0], contrast=how[2], rescale=(1.0, 0.0))
    paths = dicom_series.write_dicom_series(place, Volume(voxels, affine), machine, person, visit)
    extra = Dataset()
    plant_into = Planted(found.gone)
    headers = [pydicom.dcmread(path) for path in paths]
    extra.SeriesDescription = headers[0].SeriesDescription
    plant(extra, invent, plant_into)
    series = found.add("UIDs", generate_uid())
    angle, study = (
        int(rng.integers(5, 90)),
        found.add("UIDs", generate_uid(entropy_srcs=[visit.seed, person.identifier])),
    )
    for path, header in zip(paths, headers, strict=True):
        header.update(extra)
        header.SpecificCharacterSet, header.FlipAngle = charset, angle
        header.PatientName, header.IssuerOfPatientID = name, issuer
        header.Manufacturer, header.ManufacturerModelName = MACHINES[how[1]][:2]
        header.DeviceSerialNumber = serials[how[1]]
        header.SeriesInstanceUID, header.StudyInstanceUID = series, study
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = found.add("UIDs", generate_uid())
        header.InstanceCreationTime = found.add("times", invent.clock())
        header.file_meta.SourceApplicationEntityTitle = found.add("file meta", invent.word())
        header.preamble = found.add("file meta", invent.word()).encode().ljust(128, b"\0")
        header.save_as(path, enforce_file_format=True)
        path.rename(path.with_name(found.add("paths", invent.word())))
    one = headers[0]
    truth = {"voxels": voxels, "affine": affine, "contrast": how[2], "scanner": how[1]}
    known = {name: float(one[name].value) / unit for name, unit in FIELDS.items() if name in one}
    named = dict(zip(("Manufacturer", "ManufacturersModelName"), MACHINES[how[1]][2:], strict=True))
    found.series.append({**truth, "fields": {**known, **named}})


def ingest(folder: Path) -> subprocess.CompletedProcess[str]:
    """Ingest the export by the command line; every place that it may write to lies in the folder."""
    (folder / "secret").write_bytes(os.urandom(32))
    (folder / "secret").chmod(0o600)
    places = ["--data", str(folder / "out/data"), "--reports", str(folder / "out/reports"), "--json", "--no-prefect"]
    environment = {**os.environ, "SIAMESE_MED_SECRET_FILE": str(folder / "secret"), "HOME": str(folder / "out/home"),
                   "TMPDIR": str(folder / "out/tmp")}  # fmt: skip
    for name in ("home", "tmp"):
        (folder / "out" / name).mkdir(parents=True)
    command = [sys.executable, "-m", "siamese_med", "ingest", str(folder / "in"), *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    (folder / "out/printed.txt").write_text(done.stdout + done.stderr)
    return done


def count_removed(planted: Planted, folder: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """How many planted values of each category are found nowhere, of how many; and where the others are."""
    forms: dict[bytes, str] = {}
    for values in planted.gone.values():
        for value in values:
            for form in _forms(value):
                forms[form] = value
    found = {(word.encode("latin-1"), name) for word, name in hits(forms, [folder])}
    wrong = {forms[word] for word, _ in found if word in forms}
    counts = {
        category: (sum(value not in wrong for value in values), len(values))
        for category, values in planted.gone.items()
    }
    return counts, [f"{forms.get(word, '')} in {name}" for word, name in sorted(found)]


def _forms(value: str) -> Iterator[bytes]:
    """A value, and its parts, as bytes in the character sets that it may have; a day also as ISO writes it."""
    for part in {value, *value.split("^")}:
        for charset in ("utf-8", "latin-1", "iso8859-5", "iso8859-7", "gb18030", "utf-16-le"):
            try:
                yield part.encode(charset)
            except UnicodeEncodeError:
                continue
    if len(value) == 8 and value.isdigit():
        yield f"{value[:4]}-{value[4:6]}-{value[6:]}".encode()


def count_kept(planted: Planted, data: Path) -> dict[str, tuple[int, int]]:
    """How many facts of each kind are as they were, of how many; scans are recognised by their voxels."""
    scans = catalogue.read_scan_table(f"sqlite:///{data / 'catalogue.sqlite'}")
    images = {row.id: nib.load(data / row.path) for row in scans.itertuples()}
    by_voxels = {np.asarray(image.dataobj, dtype=np.float32).tobytes(): name for name, image in images.items()}
    rows = scans.set_index("id")
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    matched = []
    for truth in planted.series:
        name = by_voxels.get(truth["voxels"].tobytes())
        side_car = json.loads((data / rows.path[name].replace(".nii.gz", ".json")).read_text()) if name else {}
        for kind, right in _compare(truth, name, rows, images, side_car):
            totals[kind] += 1
            counts[kind] += right
        if name:
            matched.append((truth, rows.loc[name]))
    for (one, a), (other, b) in combinations(matched, 2):
        for kind, right in _compare_two(one, a, other, b):
            totals[kind] += 1
            counts[kind] += right
    return {kind: (counts[kind], totals[kind]) for kind in totals}


def _compare(
    truth: dict[str, Any], name: str | None, rows: pd.DataFrame, images: dict[str, Any], side_car: dict[str, Any]
) -> Iterator[tuple[str, bool]]:
    yield "voxels", name is not None
    if name is None:
        return
    affine, row = images[name].affine, rows.loc[name]
    yield "place and orientation", bool(np.abs(affine - truth["affine"]).max() < 1e-3)
    yield "spacing", bool(np.allclose(row.spacing_mm, np.diag(truth["affine"])[:3], atol=1e-3))
    yield "matrix", list(row["shape"]) == list(truth["voxels"].shape)
    yield "modality", row.modality == side_car.get("Modality") == "MR"
    yield "contrast", row.contrast == side_car.get("Contrast") == truth["contrast"]
    for field_name, value in truth["fields"].items():
        yield f"acquisition: {field_name}", side_car.get(field_name) == value


def _compare_two(one: dict[str, Any], a: pd.Series, other: dict[str, Any], b: pd.Series) -> Iterator[tuple[str, bool]]:
    same = one["person"] == other["person"]
    yield "whose scan it is", (a.subject == b.subject) == same
    if same:
        yield "which visit it is", (a.session == b.session) == (one["visit"] == other["visit"])
        between = abs((date.fromisoformat(a.date) - date.fromisoformat(b.date)).days)
        yield "interval in days", between == INTERVAL_DAYS * abs(one["visit"] - other["visit"])
    yield "which scanner it is", (a.scanner == b.scanner) == (one["scanner"] == other["scanner"])
    yield "which protocol it is", (a.protocol == b.protocol) == (one["contrast"] == other["contrast"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts; 0 where all are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="an empty folder for the export and what was made of it")
    parser.add_argument("--list", action="store_true", help="also say which values were found, and where")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        planted = write_export(folder / "in", given.people)
        done = ingest(folder)
        removed, left = count_removed(planted, folder / "out")
        kept = count_kept(planted, folder / "out/data")
    print(f"ingest: exit code {done.returncode}\n\n| action | category | right | of |\n|---|---|---|---|")
    for action, counts in (("remove", removed), ("keep", kept)):
        for category, (right, total) in counts.items():
            print(f"| {action} | {category} | {right} | {total} |")
        sums = [sum(numbers) for numbers in zip(*counts.values(), strict=True)]
        print(f"| {action} | all | {sums[0]} | {sums[1]} |")
    if given.list:
        print("\n".join(left))
    return int(any(right < total for right, total in (*removed.values(), *kept.values())))


if __name__ == "__main__":
    sys.exit(main())
