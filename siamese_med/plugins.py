"""Plug-ins: a user's own encoder, loss, change detector, registration, transform or ingest reason, found by its name.

A name is that of a built-in one (`compact`), of an installed entry point (`my-unet`), or `package.module:object`. The
object is called with the arguments of the configuration. A value `$name`, such as `$channels`, stands for something
that siamese-med knows; an object that has a parameter of that name is given it anyway. docs/plugins.md has an example
of each kind, `siamese_med.testing` checks them, and `study.plugin_names` lists the built-in ones.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from siamese_med.errors import PluginError
from siamese_med.study.config import Config
from siamese_med.study.plugin_names import (
    BUILT_IN,
    PluginKind,
    PluginRecord,
    installed_plugins,
    is_built_in,
    name_problem,
)

KEYS = {
    PluginKind.ENCODER: "train.encoder",
    PluginKind.LOSS: "train.loss",
    PluginKind.DETECTOR: "score.detector",
    PluginKind.REGISTRATION: "prepare.registration",
    PluginKind.TRANSFORM: "train.transform",
    PluginKind.REASON: "ingest.reasons",
}
"""Configuration keys that name a plug-in of each kind; its arguments stand beside it, under the key with `_args`."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in by name and arguments; it can be hashed, compared and sent to another process, which imports it there.

    Parameters
    ----------
    kind, name
        As the configuration has them.
    target
        The object as `package.module:object`.
    arguments
        JSON of the arguments, keys sorted.
    """

    kind: PluginKind
    name: str
    target: str
    arguments: str = "{}"

    @property
    def built_in(self) -> bool:
        """Whether it is part of siamese-med."""
        return is_built_in(self.kind, self.name)

    def __str__(self) -> str:
        return f"the {self.kind.value} {self.name}"


def find_plugin(kind: PluginKind, name: str, arguments: Mapping[str, JsonValue] | None = None) -> Plugin:
    """Look up a plug-in by name, without importing it.

    Raises
    ------
    PluginError
        The name is neither that of a built-in or installed plug-in, nor `package.module:object`.

    Examples
    --------
    >>> find_plugin(PluginKind.ENCODER, "compact").target
    'siamese_med.network.encoder:CompactEncoder'
    """
    text = json.dumps(dict(arguments or {}), sort_keys=True)
    if name in BUILT_IN[kind]:
        return Plugin(kind, name, BUILT_IN[kind][name], text)
    targets = {one.value for one in installed_plugins(kind) if one.name == name}
    if len(targets) > 1:
        raise PluginError(f"{KEYS[kind]}: '{name}' is brought by {' and '.join(sorted(targets))}: name one of these")
    if targets:
        return Plugin(kind, name, targets.pop(), text)
    if problem := name_problem(kind, name):
        raise PluginError(f"{KEYS[kind]} {problem}")
    return Plugin(kind, name, name, text)


def named_plugins(config: Config) -> tuple[Plugin, ...]:
    """List every plug-in that a configuration names; built-in ones are left out.

    Examples
    --------
    >>> named_plugins(Config())
    ()
    """
    train, score, prepare = config.train, config.score, config.prepare
    named = [
        (PluginKind.ENCODER, train.encoder, train.encoder_args),
        (PluginKind.LOSS, train.loss, train.loss_args),
        (PluginKind.DETECTOR, score.detector, score.detector_args),
        (PluginKind.REGISTRATION, prepare.registration, prepare.registration_args),
        *([(PluginKind.TRANSFORM, train.transform, train.transform_args)] if train.transform else []),
        *((PluginKind.REASON, name, arguments) for name, arguments in config.ingest.reasons.items()),
    ]
    return tuple(find_plugin(*one) for one in named if not is_built_in(one[0], one[1]))


def trusted_plugins(config: Config) -> frozenset[str]:
    """Return the names that a model may import: those of the configuration and of `run.trusted_plugins`."""
    return frozenset((*config.run.trusted_plugins, *(plugin.name for plugin in named_plugins(config))))


@functools.lru_cache(maxsize=64)
def import_plugin(plugin: Plugin) -> Callable[..., Any]:
    """Import the object behind a plug-in; raises PluginError in one line where there is none."""
    module, _, name = plugin.target.partition(":")
    where = f"{KEYS[plugin.kind]} names {plugin.target}"
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            advice = "install its package, or put its folder on PYTHONPATH"
            raise PluginError(f"{where}, and there is no module {error.name}: {advice}") from error
        raise PluginError(f"{where}, which needs the module {error.name}: install that too") from error
    except Exception as error:
        raise PluginError(f"{where}, and importing it failed ({_said(error)}): repair the module") from error
    found = getattr(loaded, name, None)
    if not callable(found):
        what = f"is no {plugin.kind.value}, since it cannot be called" if hasattr(loaded, name) else "is not in it"
        raise PluginError(f"{where}, and {name} {what}: check the name after the colon")
    result: Callable[..., Any] = found
    return result


def build_plugin(plugin: Plugin, **known: Any) -> Any:
    """Call a class or a factory with the plug-in's arguments; `known` is what it may ask for, by name.

    Raises
    ------
    PluginError
        The object cannot be imported, refuses the arguments, or fails.
    """
    make = import_plugin(plugin)
    arguments = _arguments(plugin, make, known)
    _check_call(plugin, make, (), arguments)
    try:
        return make(**arguments)
    except Exception as error:
        advice = f"check {KEYS[plugin.kind]}_args" if plugin.kind is not PluginKind.REASON else "check its arguments"
        raise PluginError(f"{plugin} could not be made ({_said(error)}): {advice}") from error


def bind_plugin(plugin: Plugin, positional: Sequence[str], **known: Any) -> Callable[..., Any]:
    """Return a function with the plug-in's arguments set, or an instance of a class, to be called with `positional`.

    Raises
    ------
    PluginError
        As `build_plugin`; also where the function does not take so many positional arguments.
    """
    found = import_plugin(plugin)
    if inspect.isclass(found):
        made = build_plugin(plugin, **known)
        _check_call(plugin, made, positional, {})
        return _called(plugin, made)
    arguments = _arguments(plugin, found, known)
    _check_call(plugin, found, positional, arguments)
    return functools.partial(found, **arguments)


def _called(plugin: Plugin, made: Any) -> Callable[..., Any]:
    if not callable(made):
        raise PluginError(f"{plugin} makes an object that cannot be called: give its class a __call__")
    result: Callable[..., Any] = made
    return result


def _arguments(plugin: Plugin, found: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, object]:
    given = {name: _filled(plugin, value, known) for name, value in json.loads(plugin.arguments).items()}
    asked = {name: value for name, value in known.items() if name in _parameters(found)}
    return {**asked, **given}


def _parameters(found: Callable[..., Any]) -> frozenset[str]:
    """The names under which an object takes something; not those that would end in its `**` alone."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(one.name for one in parameters if one.kind in by_name)


def _filled(plugin: Plugin, value: JsonValue, known: Mapping[str, Any]) -> Any:
    """A value with what `$name` stands for, at any depth."""
    if isinstance(value, dict):
        return {key: _filled(plugin, one, known) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(plugin, one, known) for one in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value[1:] not in known:
        choice = ", ".join(f"${name}" for name in sorted(known)) or "none"
        raise PluginError(f"{plugin} is given {value}, which nothing is known for: known are {choice}")
    return known[value[1:]]


def _check_call(
    plugin: Plugin, found: Callable[..., Any], positional: Sequence[str], arguments: Mapping[str, Any]
) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*positional, **arguments)
    except TypeError as error:
        call = ", ".join((*positional, *(f"{name}=" for name in arguments)))
        raise PluginError(f"{plugin} cannot be called with ({call}): {error}; see docs/plugins.md") from error


def _said(error: Exception) -> str:
    """An exception on one line."""
    first = next(iter(str(error).splitlines()), "")[:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def plugin_failure(plugin: Plugin, error: Exception) -> PluginError:
    """Return the error to raise where a plug-in's own code raised something."""
    return PluginError(f"{plugin} failed ({_said(error)}): check it with siamese_med.testing")


def describe_plugin(plugin: Plugin) -> PluginRecord:
    """Return what identifies a plug-in: its name, package, version, code and arguments. It is imported for that."""
    found = import_plugin(plugin)
    home = getattr(found, "__module__", None) or type(found).__module__
    file = getattr(sys.modules.get(home), "__file__", None)
    package, version = _distribution(plugin, home)
    return PluginRecord(
        kind=plugin.kind,
        name=plugin.name,
        target=plugin.target,
        package=package,
        version=version,
        source=hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else "",
        arguments=json.loads(plugin.arguments),
    )


def _distribution(plugin: Plugin, home: str) -> tuple[str, str]:
    """The installed package that brings a plug-in, and its version; empty where there is none."""
    for entry in installed_plugins(plugin.kind):
        if entry.value == plugin.target and entry.dist is not None:
            return entry.dist.name, entry.dist.version
    brings = (one for one in metadata.distributions() if _brings_package(one, home.partition(".")[0]))
    return next(((one.name, one.version) for one in brings), ("", ""))


def _brings_package(distribution: metadata.Distribution, package: str) -> bool:
    """Tell whether an installed distribution brings a top-level package.

    As `metadata.packages_distributions` does, which makes a path of each file of all that is installed first: half a
    second for every plug-in.
    """
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return package in declared
    starts = (f"{package}/", f"{package}.py,")
    return any(line.startswith(starts) for line in (distribution.read_text("RECORD") or "").splitlines())


def identify_plugin(plugin: Plugin) -> str:
    """Return one line that changes with a plug-in's name, version, code or arguments; empty for a built-in one."""
    return "" if plugin.built_in else json.dumps(describe_plugin(plugin).model_dump(mode="json"), sort_keys=True)


def plugin_identities(config: Config, *kinds: PluginKind) -> list[str]:
    """List the identities of the plug-ins of these kinds that a configuration names; none for built-in ones."""
    return [identify_plugin(plugin) for plugin in named_plugins(config) if plugin.kind in kinds]


def check_named(config: Config) -> None:
    """Import every plug-in that a configuration names, so that a mistake is found before hours of work."""
    for plugin in named_plugins(config):
        import_plugin(plugin)
