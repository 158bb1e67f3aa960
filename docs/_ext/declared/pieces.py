"""Pieces of Markdown as MyST reads it, from docstrings and declarations."""

import inspect
import re
from collections.abc import Iterable, Sequence

from attrkit.specs import Declared

CODE = re.compile(r"(``.+?``|`.+?`)")
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns):\n((?: {4}.*(?:\n|$)|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^ {4}(\S[^:]*): ((?:.|\n {5,})*)", re.MULTILINE)
HOMES = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def prose(text: str) -> str:
    """Text of a docstring: what Markdown would read as something else is escaped, references are MyST's."""
    text = re.sub(r":(class|func|meth|mod):`", r"{py:\1}`", text)
    pieces = CODE.split(text)
    pieces[::2] = [re.sub(r"([*<\[$])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


def body(documented: object) -> str:
    """A docstring but for its sections of options; what is raised becomes a list."""
    doc = documented.doc if isinstance(documented, Declared) else inspect.getdoc(documented) or ""
    return prose(SECTION.sub(lambda found: _raised(found[2]) if found[1] == "Raises" else "", doc)).strip()


def _raised(section: str) -> str:
    return "Raises:\n\n" + "".join(f"- ``{name}``: {' '.join(said.split())}\n" for name, said in ENTRY.findall(section))


def code(text: object) -> str:
    """Text in code font, nothing for nothing."""
    return f"`` {text} ``" if "`" in str(text) else f"`{text}`" if str(text) else ""


def codes(texts: Iterable[object]) -> str:
    """Several of these, with commas."""
    return ", ".join(map(code, texts))


def table(rows: Iterable[Sequence[str]], header: Sequence[str]) -> str:
    """A table, or nothing where there are no rows."""
    lines = [" | ".join(re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split())) for cell in row) for row in rows]
    head = [" | ".join(header), " | ".join("---" for _ in header)]
    return "".join(f"| {line} |\n" for line in [*head, *lines]) if lines else ""


def facts(pairs: dict[str, str]) -> str:
    """A table of names and what they are, without those that are empty."""
    return table([pair for pair in pairs.items() if pair[1]], ("", ""))


def links(references: Iterable[str]) -> str:
    """Papers, where they can be read."""
    return ", ".join(f"[{each}]({HOMES[each.partition(':')[0]]}{each.partition(':')[2]})" for each in references)


def fenced(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def hidden_toctree(names: Iterable[str]) -> str:
    """Pages below this one, for the side bar alone."""
    return fenced("\n".join([":hidden:", "", *names]), "{toctree}")


def joined(*parts: str) -> str:
    """Parts of a page, a blank line between them."""
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def options(spec: Declared, title: str = "option") -> str:
    """The table of a declaration's options."""
    rows = [(code(o.name), code(o.type), code(repr(o.default)), prose(o.help)) for o in spec.options]
    return table(rows, (title, "type", "default", ""))
