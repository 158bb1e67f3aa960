"""YAML as plain values, with the position of every key and item, so that a problem can say where it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from importlib.resources.abc import Traversable
from typing import Any, Final

import attrs
import yaml
from yaml.composer import ComposerError

from attrkit.errors import RulesetError

BYTES = 1_000_000
NODES = 20_000
DEPTH = 50
PROBLEMS = 200  # more help nobody, and finding what each might have meant takes time
NUMERAL = 100  # characters; longer ones cost quadratic time and mean nothing


class _Refused(Enum):
    VALUE = "refused"

    def __repr__(self) -> str:
        return "what was refused"


#: Stands where a value was refused. The problem is noted already: whoever meets it has nothing to add.
WRONG: Final = _Refused.VALUE

Path = tuple[str | int, ...]
Mark = tuple[int, int]

_TAG = "tag:yaml.org,2002:"
_LITERALS = {"null", "bool", "int", "float"}
_TEXT = {"str", "timestamp", "merge", "value"}  # a date, << and = mean nothing here beyond their letters


@attrs.frozen(eq=False)
class Document:
    """Plain values, where each of them stands, and the problems found so far. Without marks, a path is the position."""

    name: str
    value: Any
    marks: Mapping[Path, Mark] = attrs.field(factory=dict, repr=False)
    problems: list[tuple[Mark, str]] = attrs.field(factory=list)

    def _mark(self, path: Path) -> Mark:
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (0, 0))

    def place(self, path: Path) -> str:
        """``file:line:column`` of the key or item at ``path``, or of the nearest one around it."""
        if self.marks:
            line, column = self._mark(path)
            return f"{self.name}:{line}:{column}"
        dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        return f"{self.name}: {dotted.removeprefix('.')}" if path else self.name

    def complain(self, path: Path, message: str) -> None:
        """Note a problem at ``path``. Raises RulesetError, with all of them, if there are too many to go on."""
        self.problems.append((self._mark(path), f"{self.place(path)}: {message}"))
        if len(self.problems) >= PROBLEMS:
            raise RulesetError([*self.report(), f"{self.place(path)}: reading ends here, after {PROBLEMS} problems"])

    def report(self) -> list[str]:
        """The problems, one line each, from the top of the file to its end."""
        return list(dict.fromkeys(line for _, line in sorted(self.problems, key=lambda problem: problem[0])))


def load(file: Traversable, name: str) -> Document:
    """The document in ``file``, which messages call ``name``. Raises RulesetError if that cannot be read."""
    try:
        with file.open("rb") as stream:
            data = stream.read(BYTES + 1)
            size = stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise _refusal(name, (1, 1), f"the file cannot be read: {error.strerror}") from error
    if size > BYTES:
        raise _refusal(name, (1, 1), f"the file has {size} bytes; expected a ruleset of at most {BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = _after(data[: error.start].decode())
        raise _refusal(name, at, f"byte 0x{data[error.start]:02x} is not UTF-8; expected a text file in UTF-8") from error
    return parse(text, name)


def parse(text: str, name: str) -> Document:
    """The document in YAML ``text``. Raises RulesetError where it cannot be read at all; lesser problems are noted in it."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        at = _after(text[: error.position])
        raise _refusal(name, at, f"character {chr(int(error.character))!a} is not allowed; expected printable text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise _refusal(name, _marked(mark) if mark else (1, 1), f"cannot be read as YAML: {said}") from error
    if root is None:
        raise _refusal(name, (1, 1), "the file is empty; expected a ruleset, which starts with 'schema: attrkit/ruleset@1'")
    plain = _Plain(name, loader)
    value = plain.value(root, (), _marked(root.start_mark))
    return Document(name, value, plain.marks, plain.problems)


def _refusal(name: str, at: Mark, message: str) -> RulesetError:
    return RulesetError([f"{name}:{at[0]}:{at[1]}: {message}"])


def _after(text: str) -> Mark:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _marked(mark: Any) -> Mark:
    return mark.line + 1, mark.column + 1


class _Loader(yaml.SafeLoader):
    """Composes nodes, and stops at once where there are too many or they nest too deeply."""

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node and what is inside. Raises ComposerError beyond the limits."""
        self.depth += 1
        self.nodes += 1
        for count, limit, what in ((self.depth, DEPTH, "levels"), (self.nodes, NODES, "values")):
            if count > limit:
                said = f"more than {limit} {what}; expected a ruleset, which needs far fewer"
                event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # an omission of the stubs
                raise ComposerError(None, None, said, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


# YAML 1.1 takes 1e-6 for text, because it has no point.
_Loader.add_implicit_resolver(
    _TAG + "float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+\Z"), list("-+.0123456789")
)


@attrs.define
class _Plain:
    """Turns nodes into plain values, aliases expanded, and notes what is refused."""

    name: str
    loader: _Loader
    marks: dict[Path, Mark] = attrs.field(factory=dict)
    problems: list[tuple[Mark, str]] = attrs.field(factory=list)
    visited: int = 0
    around: list[yaml.Node] = attrs.field(factory=list)

    def wrong(self, node: yaml.Node, message: str) -> Any:
        at = _marked(node.start_mark)
        self.problems.append((at, f"{self.name}:{at[0]}:{at[1]}: {message}"))
        return WRONG

    def value(self, node: yaml.Node, path: Path, mark: Mark) -> Any:
        self.visited += 1
        self.marks[path] = mark
        at = _marked(node.start_mark)
        if self.visited > NODES:
            raise _refusal(self.name, at, f"more than {NODES} values once aliases are expanded; expected far fewer")
        if any(node is outer for outer in self.around):
            raise _refusal(self.name, at, "contains itself through an alias; expected a value that ends")
        self.around.append(node)
        tag = node.tag.removeprefix(_TAG)
        found: Any
        if isinstance(node, yaml.MappingNode) and tag == "map":
            found = self.mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and tag == "seq":
            found = [self.value(item, (*path, i), _marked(item.start_mark)) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode) and tag in _LITERALS | _TEXT:
            found = node.value if tag in _TEXT else self.literal(node, tag)
        else:
            shown = node.tag.replace(_TAG, "!!")
            found = self.wrong(node, f"tag {shown!r} is refused here; expected plain text, numbers, lists and mappings")
        self.around.pop()
        return found

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.removeprefix(_TAG) not in _TEXT:
                got = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else f"a {key_node.id}"
                self.wrong(key_node, f"expected a name as key, got {got}; quote it if it is meant as text")
            elif (key := key_node.value) in found:
                line, column = self.marks[*path, key]
                self.wrong(key_node, f"key {key!r} comes twice, first at {line}:{column}; expected it once")
            else:
                found[key] = self.value(value_node, (*path, key), _marked(key_node.start_mark))
        return found

    def literal(self, node: yaml.ScalarNode, tag: str) -> Any:
        if len(node.value) <= NUMERAL:
            with suppress(ValueError, LookupError, OverflowError):
                return self.loader.yaml_constructors[node.tag](self.loader, node)
        return self.wrong(node, f"expected {tag}, got {node.value[:NUMERAL]!r}")
