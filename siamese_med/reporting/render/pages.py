"""Render report content as HTML.

The templates escape every value. Style and script are inlined, and the content-security policy of a page allows only
these two, by their digest.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from siamese_med.imaging.slice_labels import LABEL_MARGIN_PX
from siamese_med.reporting import formatting
from siamese_med.reporting.charts import curves, histogram, lesion_load, marks, ranges, strip, timeline
from siamese_med.reporting.data import contrast_agent, finding_lines, verdicts, wrong_patient_alarms
from siamese_med.reporting.model import metrics_file, statements
from siamese_med.reporting.render import index_rows, viewer
from siamese_med.study import contrasts
from siamese_med.study.reader_answers import MAX_REMARK_CHARACTERS
from siamese_med.study.thresholds import MAX_CANDIDATE_P, MIN_LESION_VOXELS
from siamese_med.study.vocabulary import FindingAnswer, PairRole, ScanQuality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment

    from siamese_med.reporting.data.cohort_index import CohortIndex
    from siamese_med.reporting.data.model_page import ModelPage
    from siamese_med.reporting.data.received_files import IngestPage
    from siamese_med.reporting.data.report_content import ContrastLine, PatientReport, ReportPair
    from siamese_med.reporting.data.side_by_side import WrongPatientComparison
    from siamese_med.reporting.render.lesion_pictures import LesionPictures
    from siamese_med.reporting.render.viewer import ViewerLayers

PAGE_TEMPLATE_FOLDER = Path(__file__).parent / "templates"
"""Folder of the templates of all pages, their style sheets and scripts."""
UNFOLDED_SLICES = 4
"""Slices of a pair that a page shows at once; the others are folded, if they are more than one."""
PAGE_FILTERS = {
    formatting: (
        *("fixed", "detectable", "measure", "probability", "percent", "count", "interval", "known"),
        *("short", "place", "sizes", "spaced", "sentence", "sentence_case"),
    ),
    contrasts: ("describe_contrast", "describe_stratum", "join_contrasts", "join_words"),
}
"""Functions that the templates may use as filters, by module."""


@dataclass(frozen=True)
class PatientFileLinks:
    """Links to the files beside a patient's pages, by the number of the pair: change maps and viewers."""

    maps: Mapping[int, str]
    viewers: Mapping[int, str]


def render_patient_pages(
    report: PatientReport, apart: Sequence[int], links: PatientFileLinks, pictures: LesionPictures
) -> dict[str, str]:
    """Render all pages of one patient.

    Parameters
    ----------
    report
        Content of the patient's report.
    apart
        Numbers of the pairs that get a page of their own, in the order of time.
    links
        Files beside the pages.
    pictures
        Of lesions that were marked.

    Returns
    -------
    dict
        HTML by file name: `report.html`, and `pair-<number>.html` for each pair of `apart`.
    """
    shown = [pair for pair in report.pairs if pair.role != PairRole.OTHER]
    names = {pair.number: f"#pair-{pair.number}" for pair in shown} | {n: f"pair-{n}.html" for n in apart}
    common = {"report": report, "links": names, "files": links, "strips": _strips(report)}
    written = {
        "report.html": _patient_page(report, common, [pair for pair in shown if pair.number not in apart], pictures)
    }
    pairs = {pair.number: pair for pair in shown}
    for before, number, after in zip((None, *apart), apart, (*apart[1:], None), strict=False):
        page = _environment().get_template("step.html.j2")
        written[f"pair-{number}.html"] = page.render(**common, pair=pairs[number], before=before, after=after)
    return written


def render_printed_page(report: PatientReport, pictures: LesionPictures) -> str:
    """Render everything about one patient as a single HTML page for printing; all pairs are shown in full.

    The page has no links to other files; see `pdf_pages.render_pdf`.
    """
    shown = [pair for pair in report.pairs if pair.role != PairRole.OTHER]
    names = {pair.number: f"#pair-{pair.number}" for pair in shown}
    common = {"report": report, "links": names, "files": PatientFileLinks({}, {}), "strips": _strips(report)}
    return _patient_page(report, common, shown, pictures)


def _patient_page(
    report: PatientReport, common: Mapping[str, object], shown: Sequence[ReportPair], pictures: LesionPictures
) -> str:
    reference = report.reference.narrow(report.pairs)
    lines, leads = _drawn_lines(report), _leads(report)
    order = {pair.number: place for place, (_, pair) in enumerate(leads)}
    charts = {
        "leads": leads,
        "suspects": _suspects(report),
        "timelines": [
            timeline.draw_timeline(report.visits, report.pairs, reference, line, small=len(lines) > 1) for line in lines
        ],
        "lesion_pictures": pictures,
        "load_charts": {line.contrast: lesion_load.draw_lesion_load(line) for line in report.lesions},
        "undrawn": [line.name for line in report.lines if line.pairs and line not in lines],
    }
    page = _environment().get_template("patient.html.j2")
    ordered = sorted(shown, key=lambda pair: order.get(pair.number, len(order)))
    return page.render(**common, **charts, shown=ordered, own_reference=reference)


def _leads(report: PatientReport) -> list[tuple[ContrastLine, ReportPair]]:
    """The pair that stands for each contrast in the headline: the most urgent first, suspects last."""
    pairs = {pair.number: pair for pair in report.pairs}
    leads = [(line, pairs[line.lead]) for line in report.lines if line.lead]
    suspects = _suspects(report)
    return sorted(leads, key=lambda lead: (verdicts.STATUSES[lead[1].status].rank, lead[1].number in suspects))


def _suspects(report: PatientReport) -> set[int]:
    """The numbers of the pairs whose change may come from contrast agent."""
    return {pair.number for pair in contrast_agent.list_suspect_pairs(report.pairs)}


def _drawn_lines(report: PatientReport) -> list[ContrastLine]:
    """The contrasts whose change was measured in some pair; of a single visit, its first contrast."""
    if len(report.visits) == 1:
        return list(report.lines[:1])
    measured = {pair.number for pair in report.pairs if pair.score.change_z is not None}
    return [line for line in report.lines if not measured.isdisjoint(line.pairs)]


def _strips(report: PatientReport) -> dict[int, Markup]:
    return {
        pair.number: strip.draw_change_strip(pair, report.reference)
        for pair in report.pairs
        if pair.score.change_z is not None
    }


def render_viewer_page(report: PatientReport, pair: ReportPair, layers: ViewerLayers) -> str:
    """Render the page with the interactive viewer (NiiVue) of one pair; it needs no other file.

    Components of the pair with a position become links to their place. `layers` holds both scans and the change map,
    see
    `viewer.build_viewer_layers`.
    """
    script = (PAGE_TEMPLATE_FOLDER / "viewer.js").read_text(encoding="utf-8")
    style = (PAGE_TEMPLATE_FOLDER / "page.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("viewer.html.j2")
        .render(
            report=report,
            pair=pair,
            home="report.html",
            layers=layers,
            places=[
                part for part in pair.score.components if len(part.earlier_mm) == 3 and None not in part.earlier_mm
            ],
            niivue=Markup(viewer.read_niivue_source()),
            script=Markup(script),
            policy=make_content_security_policy(style, viewer.read_niivue_source(), script),
        )
    )


def render_index_page(cohort: CohortIndex, lineups: Sequence[WrongPatientComparison] = ()) -> str:
    """Render the index of all patients, with histograms of change and similarity.

    Parameters
    ----------
    cohort
        One row for each patient, and values for the histograms.
    lineups
        Side-by-side pictures of scans that may belong to another patient.
    """
    pairs = [("s0", "pairs of one patient", cohort.changes_z)]
    similarities = [("s0", "pairs of one patient", cohort.similarities)]
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            cohort=cohort,
            lineups=lineups,
            listed_rows=index_rows.LISTED_ROWS,
            further=index_rows.list_further_rows(
                cohort.rows[index_rows.LISTED_ROWS :], cohort.reference.largest_tested_ml
            ),
            cells=index_rows.list_row_cells,
            notes=index_rows.list_row_notes,
            change=histogram.draw_histogram("Change", "change (z)", pairs, band=cohort.reference.band_z),
            similarity=histogram.draw_histogram("Similarity", "similarity", similarities),
        )
    )


def render_ingest_page(shown: IngestPage) -> str:
    """Render the page that lists received and rejected files by patient and series, with reasons and hints."""
    return _environment().get_template("ingest.html.j2").render(page=shown)


def render_model_page(model: ModelPage) -> str:
    """Render the page of a model with its ROC, DET, calibration and training curves.

    Charts whose data are missing, such as those of a model without a training log, are left out.
    """
    distances = [
        ("s0", "same person", model.test.same_distances),
        ("s1", "different persons", model.test.different_distances),
    ]
    calibration, audit = model.measured.calibration, model.measured.audit
    return (
        _environment()
        .get_template("model.html.j2")
        .render(
            model=model,
            measured=model.measured,
            figure_names=metrics_file.FIGURE_NAMES,
            roc=curves.draw_roc_curves(model.test.curves) if model.test.curves else "",
            det=curves.draw_det_curves(model.test.curves) if model.test.curves else "",
            distances=histogram.draw_histogram("Distances", "distance of the embeddings", distances)
            if any(values for _, _, values in distances)
            else "",
            calibration=curves.draw_calibration_curve(calibration.bins) if calibration.bins else "",
            audit=ranges.draw_audit_ranges(audit) if audit else "",
            strata=[
                (name, groups, ranges.draw_similarity_ranges(name, groups, calibration.threshold))
                for key, name in metrics_file.STRATUM_NAMES.items()
                if (groups := model.measured.strata[key])
            ],
            training=_training(model),
        )
    )


def _training(model: ModelPage) -> Markup | str:
    log = dict(model.log)
    names = {"train_loss": "training", "validation_loss": "validation"}
    losses = [(name, log[column]) for column, name in names.items() if column in log]
    return curves.draw_training_curve(log["epoch"], losses) if "epoch" in log and losses else ""


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # autoescape=True and not select_autoescape: that one leaves .html.j2 unescaped
    environment = Environment(
        loader=FileSystemLoader(PAGE_TEMPLATE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((PAGE_TEMPLATE_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        policy=make_content_security_policy(style, script),
        statuses=verdicts.STATUSES,
        shapes=marks.MARK_SHAPES,
        advice=wrong_patient_alarms.ALARM_ADVICE,
        claims=statements,
        two_way_findings=finding_lines.list_two_way_parts,
        contrast_note=index_rows.list_contrast_note,
        least_voxels=MIN_LESION_VOXELS,
        margin_px=LABEL_MARGIN_PX,
        unfolded_slices=UNFOLDED_SLICES,
        max_candidate_p=MAX_CANDIDATE_P,
        finding_answers=tuple(FindingAnswer),
        scan_qualities=tuple(ScanQuality),
        remark_characters=MAX_REMARK_CHARACTERS,
    )
    for module, names in PAGE_FILTERS.items():
        for name in names:
            environment.filters[name] = getattr(module, name)
    return environment


def make_content_security_policy(style: str, *scripts: str) -> str:
    """Make a content-security policy that allows one style sheet and some scripts, by SHA-256, and no other source.

    Parameters
    ----------
    style
        Text of the inlined style sheet.
    *scripts
        Texts of the inlined scripts.

    References
    ----------
    W3C, Content Security Policy Level 3.

    Examples
    --------
    >>> make_content_security_policy("", "").split("; ")[:2]
    ["default-src 'none'", 'img-src data:']
    """
    sources = " ".join(f"'{_source(script)}'" for script in scripts)
    return (
        f"default-src 'none'; img-src data:; style-src '{_source(style)}'; script-src {sources}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
