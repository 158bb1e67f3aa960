"""Templates to text. Everything that is not made here as markup is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from attrkit.errors import MissingExtra
from attrkit.views.colours import STOPS
from attrkit.views.svg import number

if TYPE_CHECKING:
    from jinja2 import Environment


def page(template: str, **content: Any) -> str:
    """A template of this package, or of the one before a colon, with content. Raises MissingExtra without jinja2."""
    package, _, name = template.rpartition(":")
    text: str = _environment(package or __package__ or "").get_template(name).render(content)
    return text


@cache
def _environment(package: str) -> Environment:
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra("a report", "demo", "jinja2") from error
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(home) for home in dict.fromkeys((package, __package__ or ""))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals["stops"] = ", ".join(STOPS)
    return environment
