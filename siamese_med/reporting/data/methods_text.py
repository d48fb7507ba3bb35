"""Compose how a patient's findings were obtained, with references and versions, to be pasted into a report."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.study.contrasts import describe_stratum, join_words
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY
from siamese_med.study.vocabulary import NullSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siamese_med.reporting.data.provenance import Provenance
    from siamese_med.reporting.data.report_content import ReportPair, ReportReference

RESEARCH_NOTICE = "Research use only: made by software that is not a medical device; not for diagnosis."
"""Stands below every copy of the text."""

REFERENCES = {
    "correlation ratio": "Roche A, Malandain G, Pennec X, Ayache N. The correlation ratio as a new similarity measure "
    "for multimodal image registration. MICCAI 1998.",
    "inverse consistency": "Reuter M, Rosas HD, Fischl B. Highly accurate inverse consistent registration: a robust "
    "approach. NeuroImage 2010.",
    "synthesis": "Billot B et al. SynthSeg: segmentation of brain MRI scans of any contrast and resolution without "
    "retraining. Medical Image Analysis 2023.",
    "false discovery": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful "
    "approach to multiple testing. J R Stat Soc B 1995.",
    "boundary shift": "Freeborough PA, Fox NC. The boundary shift integral: an accurate and robust measure of cerebral "
    "volume changes from registered repeat MRI. IEEE Trans Med Imaging 1997.",
    "hommel": "Hommel G. A stagewise rejective multiple test procedure based on a modified Bonferroni test. Biometrika "
    "1988.",
    "siamese": "Koch G, Zemel R, Salakhutdinov R. Siamese neural networks for one-shot image recognition. ICML Deep "
    "Learning Workshop 2015.",
    "platt": "Platt J. Probabilistic outputs for support vector machines and comparisons to regularized likelihood "
    "methods. Advances in Large Margin Classifiers 1999.",
    "monai": "Cardoso MJ et al. MONAI: an open-source framework for deep learning in healthcare. arXiv 2211.02701, "
    "2022.",
}
"""Publications that a text may cite; one that it does cite is numbered."""

DETECTORS = {
    "residual": "by the difference of the two scans, divided by what noise and misalignment explain",
    "pretrained": "by a network that comes with siamese-med, trained on changes planted in synthetic scans {synthesis}",
    "network": "by a network that was trained on changes planted in scans of the study",
}
"""The detectors of siamese-med in words; the detector of a plug-in is given by its name."""

SOURCES = {
    NullSource.RESCANS: "real rescans",
    NullSource.SYNTHESISED: "simulated acquisitions of one anatomy",
    NullSource.OWN: "simulated rescans of the scans themselves",
}


@dataclass
class _Citations:
    """Numbers the references in the order in which they are cited: `{name}` in a text becomes `[1]`."""

    cited: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        if name not in self.cited:
            self.cited.append(name)
        return f"[{self.cited.index(name) + 1}]"


def compose_methods(
    pairs: Sequence[ReportPair], reference: ReportReference, provenance: Provenance
) -> tuple[str, tuple[str, ...]]:
    """Compose the methods, and the references that they cite by number.

    Parameters
    ----------
    pairs
        Of the patient; where none of them was compared, only the identity is described.
    reference
        What the pairs are compared with, narrowed to these pairs.
    provenance
        Model and versions.
    """
    compared = any(pair.score.change_z is not None for pair in pairs)
    written = " ".join(
        [*(_describe_change(reference) if compared else ()), *_describe_identity(), _software(provenance)]
    )
    citations = _Citations()
    text = written.format_map(citations)
    return " ".join(text.split()), tuple(REFERENCES[name] for name in citations.cited)


def _describe_change(reference: ReportReference) -> list[str]:
    detector = _name_detector(reference.detector)
    significance = f"{reference.significance:g}"
    return [
        "Two scans of one contrast were registered rigidly, in both directions at once, by their correlation ratio "
        f"{{correlation ratio}}{{inverse consistency}}. Change was measured {detector}, inside the brain where one was "
        f"found {{synthesis}}, and compared with pairs without change ({_describe_strata(reference)}).",
        "The change map is one minus the false discovery rate of each voxel {false discovery}; from "
        f"{MIN_CHANGE_PROBABILITY:g} on a voxel counts as changed. Boundaries that moved were measured beside it "
        "{boundary shift}. Both p were joined (weighted Bonferroni) and corrected for all pairs that end with one "
        f"visit of a patient {{hommel}}; below {significance} a pair is called changed.",
        "The smallest change that would have been seen was found by planting changes of known volume, up to "
        f"{formatting.fixed(reference.largest_tested_ml, 0)} ml, in the pair itself (power {reference.power:g}).",
    ]


def describe_detector(name: str) -> str:
    """Describe a change detector in words that follow "Change is measured", without a reference.

    Examples
    --------
    >>> describe_detector("network")
    'by a network that was trained on changes planted in scans of the study'
    >>> describe_detector("my_plugin:Detector")
    'by the detector my_plugin:Detector'
    """
    return re.sub(r" \{.*?\}", "", _name_detector(name))


def _name_detector(name: str) -> str:
    return DETECTORS.get(name, f"by the detector {_plain(name)}")


def _describe_strata(reference: ReportReference) -> str:
    told = [
        f"{one.n} of {_plain(describe_stratum(one.name))}, {SOURCES.get(NullSource(one.source), one.source)}"
        for one in reference.strata
        if one.source in SOURCES
    ]
    return join_words(told) if told else "a normal distribution"


def _describe_identity() -> list[str]:
    return [
        "Whether two scans show one person was judged by a Siamese network {siamese}, whose similarity is calibrated "
        "{platt} and does not measure change."
    ]


def _software(provenance: Provenance) -> str:
    versions = {name: version for name, version in provenance.versions.items() if version != "not installed"}
    named = [f"{_plain(name)} {_plain(version)}" for name, version in versions.items() if name != "siamese-med"]
    own = f"siamese-med {_plain(versions['siamese-med'])}" if "siamese-med" in versions else "siamese-med"
    starter = ", the starter model," if provenance.starter else ""
    monai = " {monai}" if "monai" in versions else ""
    using = f" with {join_words(named)}{monai}" if named else ""
    return f"The model {_plain(provenance.model)}{starter} was made by {own}{using}."


def _plain(text: str) -> str:
    """Text that holds no field of a format string."""
    return text.replace("{", "(").replace("}", ")")
