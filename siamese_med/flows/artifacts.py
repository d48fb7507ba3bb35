"""Publish a run's results as Prefect artifacts: the account of all files, the model's metrics, and the summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from siamese_med.pipeline.stage_facts import IngestFacts
from siamese_med.pipeline.stage_results import RunRequest, StageResults
from siamese_med.reporting.write import markdown_summary
from siamese_med.study.model_metrics import read_model_metrics


def publish_artifacts(done: StageResults, order: RunRequest) -> None:
    """Publish the artifacts of the stages that ran.

    Parameters
    ----------
    done
        Results of the stages; a stage that did not run has no artifact.
    order
        Request of the run; its configuration gives the address for links to the report.
    """
    by_verb = {outcome.verb: outcome for outcome in done}
    if (ingested := by_verb.get("ingest")) and "files_seen" in ingested.facts:
        _table("ingest-account", "What became of every file", _account(ingested.facts))
    if (trained := by_verb.get("train")) and trained.model:
        _table("model-metrics", f"Model {trained.model.name}", _figures(_recorded(trained.model)))
    if promoted := by_verb.get("promote"):
        _table("promotion", "Which model is in use, and why", _figures(promoted.facts))
    if ingested and (scored := by_verb.get("score")) and (reported := by_verb.get("report")):
        text = markdown_summary.render_run_summary(
            scored.result, ingested.result.account, reported.result, order.study.config.report.url
        )
        create_markdown_artifact(text, key="summary", description="Verdicts of this run")


def _account(facts: IngestFacts) -> dict[str, int]:
    counts = {name: value for name, value in facts.items() if isinstance(value, int)}
    transfer = {f"transfer: {what}": count for what, count in facts.get("transfer", {}).items()}
    return counts | transfer | {f"reason: {word}": count for word, count in facts["reasons"].items()}


def _recorded(model: Path) -> dict[str, object]:
    """The figures of metrics.json by name, in its order."""
    figures = _figures(read_model_metrics(model).to_json_object())
    return dict(sorted(figures.items(), key=lambda figure: figure[0].split(".")))


def _figures(metrics: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested figures as one level, `outer.inner`; lists are left out."""
    flat: dict[str, object] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= _figures(value, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            flat[prefix + name] = value
    return flat


def _table(key: str, description: str, values: Mapping[str, object]) -> None:
    create_table_artifact([{"what": name, "value": value} for name, value in values.items()], key, description)
