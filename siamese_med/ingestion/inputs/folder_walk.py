"""Walking through an input folder: every file once, links followed once, and a reason for what cannot be opened.

Nothing below a folder stops the walk, and nothing is skipped silently: what is neither a file nor a folder with files
is returned too, with the reason word under which it is counted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from siamese_med.ingestion.inputs import time_limits

SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
"""Links into these are not followed: they lead to processes and devices, and such a walk may never end."""

ANNEX_TARGET_PART = "annex/objects/"
"""Part of the target path of a link that git-annex or DataLad made."""

MAX_SAFE_PATH_CHARS = 1000
"""Length of a path, in characters, that every system accepts; longer ones are checked by a system call."""

MISSING_TARGET_ERRNOS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""System errors that mean that the target of a path does not exist."""


@dataclass(frozen=True, slots=True)
class WalkedPath:
    """One path of an input; `reason` is the reason word of a path that is counted and never opened, else empty.

    `unlisted`: a folder, perhaps the input itself, that could not be listed now.
    """

    path: str
    reason: str = ""
    unlisted: bool = False


@dataclass
class _WalkState:
    """Results of a walk below the real path `root`: paths, real paths of listed folders, and links yet to be followed.

    `own`: real paths of the study's own folders, which are counted and not entered.
    """

    root: str
    own: frozenset[str] = frozenset()
    found: list[WalkedPath] = field(default_factory=list)
    walked: set[str] = field(default_factory=set)
    links: deque[str] = field(default_factory=deque)


def walk_folder(folder: Path, own: Collection[Path] = ()) -> list[WalkedPath]:
    """List everything below a folder, sorted by the parts of the paths.

    Parameters
    ----------
    folder
        The folder.
    own
        Folders that a study writes to; each that lies below `folder` is counted as `own_folder` and not entered, or its
        scans would come in again as those of new patients.

    Real folders come before links to folders, so a folder that can be reached both ways is listed at its real place. A
    link is counted as `linked_folder` and not followed if its target was listed before, contains the link or the input,
    or belongs to the system.
    """
    state = _WalkState(os.path.realpath(folder), frozenset(map(os.path.realpath, own)))
    _walk_real_folders(str(folder), state)
    while state.links:
        link = state.links.popleft()
        if any(_contains(one, os.path.realpath(link)) for one in state.own):
            state.found.append(WalkedPath(link, "own_folder"))
        elif _may_follow(link, state):
            _walk_real_folders(link, state)
        else:
            state.found.append(WalkedPath(link, "linked_folder"))
    return sorted(state.found, key=lambda one: _in_parts(one.path))


def _in_parts(path: str) -> str:
    """Return a sort key that orders paths by their parts: the separator comes before every other character."""
    return path.replace(os.sep, "\0")


def check_input_path(path: Path) -> WalkedPath:
    """Check a path that a user or a manifest names.

    Returns
    -------
    WalkedPath
        The path, with a reason word where it is known already that it cannot be opened.

    Raises
    ------
    FileNotFoundError
        Nothing exists at that path, not even a link.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:  # a NUL character
        return WalkedPath(str(path), "unusable_path")
    except OSError as error:
        reason = _reason_of(str(path), error)
        if not reason and error.errno in MISSING_TARGET_ERRNOS:
            raise FileNotFoundError from error
        return WalkedPath(str(path), reason)
    return WalkedPath(str(path), "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "special_file")


def _walk_real_folders(top: str, state: _WalkState) -> None:
    """Collect the files below a folder, and the links to folders in the order of their paths."""
    waiting, links = [(top, os.path.realpath(top))], []
    while waiting:
        folder, real = waiting.pop()
        if real in state.own:
            state.found.append(WalkedPath(folder, "own_folder"))
            continue
        if real in state.walked:  # its files were listed through a link to it
            state.found.append(WalkedPath(folder, "linked_folder"))
            continue
        try:
            entries = time_limits.call_with_time_limit(_listed, folder)
        except OSError as error:
            too_long = error.errno == errno.ENAMETOOLONG
            state.found.append(WalkedPath(folder, "unusable_path" if too_long else "", unlisted=not too_long))
            continue
        state.walked.add(real)
        for entry in entries:
            match _kind_of(entry):
                case "folder":
                    waiting.append((entry.path, f"{real.rstrip(os.sep)}{os.sep}{entry.name}"))
                case "link":
                    links.append(entry.path)
                case reason:
                    state.found.append(WalkedPath(entry.path, reason))
    state.links.extend(sorted(links, key=_in_parts))


def _listed(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as listed:
        return list(listed)


def _kind_of(entry: os.DirEntry[str]) -> str:
    """Return `folder`, `link` (to a folder), or the reason word of a file, empty where it may be opened."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        if len(entry.path) < MAX_SAFE_PATH_CHARS and entry.is_file(follow_symlinks=False):
            return ""
        mode = entry.stat().st_mode
    except OSError as error:
        return _reason_of(entry.path, error)
    if stat.S_ISDIR(mode):
        return "link"
    return "" if stat.S_ISREG(mode) else "special_file"


def _may_follow(link: str, state: _WalkState) -> bool:
    target, place = os.path.realpath(link), os.path.realpath(Path(link).parent)
    if target in state.walked or _contains(target, state.root) or _contains(target, place):
        return False
    return not any(_contains(one, target) for one in SYSTEM_FOLDERS)


def _contains(folder: str, path: str) -> bool:
    """Whether a real path is that folder or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip(os.sep)}{os.sep}")


def _reason_of(path: str, error: OSError) -> str:
    """Return the reason why a path cannot be opened; empty where only an attempt to read it can tell."""
    if error.errno == errno.ENAMETOOLONG:
        return "unusable_path"
    if error.errno not in MISSING_TARGET_ERRNOS or not Path(path).is_symlink():
        return ""
    return "not_fetched" if ANNEX_TARGET_PART in f"{Path(path).readlink()} {os.path.realpath(path)}" else "broken_link"
