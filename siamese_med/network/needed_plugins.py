"""Check which plug-ins a model folder needs, and whether it may have them: a model may come from anyone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util
from pathlib import Path

from siamese_med.errors import PluginError
from siamese_med.plugins import KEYS, describe_plugin, find_plugin
from siamese_med.study.plugin_names import PluginKind, PluginRecord, installed_plugins, is_built_in, is_dotted


def require_plugins(
    needed: Sequence[tuple[PluginKind, str]], records: Sequence[PluginRecord], trusted: frozenset[str], folder: Path
) -> None:
    """Check the plug-ins that a model needs, before any of them is imported.

    What a model names is imported only where an installed package declares it as an entry point, or where the user's
    own configuration names it. Its version and its code must be those that the model was made with.

    Parameters
    ----------
    needed
        Kind and name of each plug-in of the model.
    records
        What the model says of each.
    trusted
        Names that the user's own configuration allows.
    folder
        The model folder, for messages.

    Raises
    ------
    PluginError
        In one line: what is needed, why it is not used, and what to install or to write into the configuration.
    """
    found = [_record_of(kind, name, records, folder) for kind, name in needed if not is_built_in(kind, name)]
    for record in found:
        _require_trust(record, trusted, folder)
    for record in found:
        _require_same(record, folder)


def _record_of(kind: PluginKind, name: str, records: Sequence[PluginRecord], folder: Path) -> PluginRecord:
    for record in records:
        if record.kind is kind and record.name == name:
            return record
    what = f"the model in {folder} names the {kind.value} {name}, and has no record of such a plug-in"
    raise PluginError(f"{what}: copy the folder again")


def _require_trust(record: PluginRecord, trusted: frozenset[str], folder: Path) -> None:
    what, package = _needs(record, folder)
    declared = any(record.name in (one.name, one.value) for one in installed_plugins(record.kind))
    if not is_dotted(record.name) and not declared:
        raise PluginError(f"{what}, which no installed package brings: install {package}")
    if not declared and record.name not in trusted:
        where = f"name it in run.trusted_plugins of your configuration (or as {KEYS[record.kind]}) if you trust it"
        missing = "" if _there(record.target) else f"install {package}, and "
        raise PluginError(f"{what}, and a model may not import what you did not name: {missing}{where}")


def _require_same(record: PluginRecord, folder: Path) -> None:
    what, package = _needs(record, folder)
    plugin = find_plugin(record.kind, record.name, record.arguments)
    if not _there(plugin.target):
        raise PluginError(f"{what}, which is not installed: install {package}")
    now = describe_plugin(plugin)
    if now.target != record.target:
        raise PluginError(f"{what} as {record.target}, and here that name is {now.target}: install {package}")
    if (now.package, now.version) != (record.package, record.version):
        here = f"{now.package} {now.version}" if now.package else "one that is not installed as a package"
        raise PluginError(f"{what} of {package}, and here it is {here}: install {package}, or train again")
    if now.source != record.source:
        raise PluginError(f"{what}, whose code is not what the model was made with: restore it, or train again")


def _needs(record: PluginRecord, folder: Path) -> tuple[str, str]:
    """Describe what a model needs, and name the package or module that brings it."""
    package = f"{record.package}=={record.version}" if record.package else f"the module of {record.target}"
    return f"the model in {folder} needs the {record.kind.value} {record.name}", package


def _there(target: str) -> bool:
    """Whether the top-level package of a target could be imported; nothing is."""
    try:
        return util.find_spec(target.partition(":")[0].partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
