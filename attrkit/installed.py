"""What is installed: entry points of attrkit, read from metadata alone, each with what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from enum import StrEnum
from functools import cache
from importlib.metadata import Distribution, EntryPoint, PackageMetadata, entry_points, version

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from attrkit.hookspecs import PROJECT


class State(StrEnum):
    """What became of a plugin."""

    FOUND = "found"  # metadata only; nothing imported
    LOADED = "loaded"
    BROKEN = "broken"
    BLOCKED = "blocked"
    INCOMPATIBLE = "incompatible"


@attrs.define
class Plugin:
    """One entry point and what became of it."""

    name: str
    dist: str
    version: str
    target: EntryPoint = attrs.field(repr=False)
    state: State = State.FOUND
    reason: str = ""
    error: BaseException | None = attrs.field(default=None, repr=False)
    whole: bool = attrs.field(  # whether the entry point names a module, not a declaration in one
        init=False, repr=False, default=attrs.Factory(lambda self: not self.target.attr, takes_self=True)
    )

    @property
    def key(self) -> str:
        """``distribution:name``, which is unique."""
        return f"{self.dist}:{self.name}"

    @property
    def package(self) -> str:
        """The top-level package that the entry point names."""
        return self.target.module.partition(".")[0]


@cache
def own_version() -> str:
    """That of this attrkit."""
    return version(PROJECT)


def _clash(requires: list[str] | None) -> str:
    """The first requirement on attrkit that this version does not meet."""
    for text in requires or ():
        if PROJECT not in text.lower():  # parsing all that a large distribution requires takes long
            continue
        wanted = Requirement(text)
        applies = canonicalize_name(wanted.name) == PROJECT and (wanted.marker is None or wanted.marker.evaluate({"extra": ""}))
        if applies and not wanted.specifier.contains(own_version(), prereleases=True):
            return text
    return ""


@attrs.frozen
class Metadata:
    """What the metadata of a distribution say, read once for all of its entry points."""

    name: str = "?"
    version: str = "?"
    state: State = State.FOUND
    reason: str = ""
    error: Exception | None = None

    @classmethod
    def of(cls, dist: Distribution | None) -> Metadata:
        """Whatever is wrong with them is this distribution's trouble alone."""
        if dist is None:
            return cls()
        name = number = "?"
        try:
            headers = _headers(dist)
            name, number = headers["Name"], headers["Version"]
            clash = _clash(headers.get_all("Requires-Dist"))
        except InvalidRequirement as error:
            return cls(name, number, State.BROKEN, f"its requirements cannot be read: {error}", error)
        except Exception as error:  # noqa: BLE001 - files may be missing, or hold anything
            return cls(name or "?", "?", State.BROKEN, f"its metadata cannot be read: {type(error).__name__}: {error}", error)
        if not name or not number:
            return cls(name or "?", number or "?", State.BROKEN, "its metadata name no distribution or no version")
        if clash:
            return cls(name, number, State.INCOMPATIBLE, f"needs {clash}, this is attrkit {own_version()}")
        return cls(name, number)


def _headers(dist: Distribution) -> PackageMetadata | Message:
    """The metadata of a distribution without its README, which takes longer to parse than all else."""
    text = dist.read_text("METADATA")
    return dist.metadata if text is None else message_from_string(text.partition("\n\n")[0])


def all_entry_points() -> Iterator[tuple[EntryPoint, int]]:
    """Entry points of attrkit, and the version of the plugin API that each speaks: the spoken one first, then later ones."""
    every = entry_points()
    groups: list[tuple[int, str]] = []
    for group in every.groups:
        if group == PROJECT:
            groups.append((1, group))
        elif found := re.fullmatch(rf"{PROJECT}\.v([1-9][0-9]*)", group):
            groups.append((int(found[1]), group))
    for api, group in sorted(groups):
        yield from ((target, api) for target in every.select(group=group))
