"""A shard's attributions: tensors with a row for each delivered row, and a file of them that is always the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from attrkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "attrkit/shard@1"


@attrs.frozen(eq=False)
class Shard:
    """What one file holds: the numbers of its rows, tensors by name, the rows' ids, and facts about all of them.

    Names are those of :meth:`attrkit.Explanation.save`: ``values/NAME``, ``errors/NAME``, ``output``, ``baseline_output``,
    ``delta`` (rows first, then layers), and ``target``.
    """

    rows: Tensor
    tensors: Mapping[str, Tensor]
    ids: list[Any] | None
    facts: Mapping[str, Any]

    def encoded(self, form: str) -> bytes:
        """The file's bytes."""
        if form == "parquet":
            from attrkit.jobs.parquet import encoded

            return encoded(self.rows, self.tensors, self.ids, self.described())
        from safetensors.torch import save

        tensors = {"rows": self.rows, **self.tensors}
        return bytes(save({n: t.contiguous() for n, t in tensors.items()}, metadata={"shard": self.described()}))

    def described(self) -> str:
        """All but the tensors, as JSON."""
        return json.dumps({"format": FORMAT, **self.facts, "ids": self.ids}, sort_keys=True)

    @classmethod
    def of(cls, path: Path, only: tuple[str, ...] | None = None) -> Shard:
        """The shard in a file; with ``only``, just those of its tensors. Raises UsageError where it holds none."""
        if path.suffix == ".parquet":
            from attrkit.jobs.parquet import decoded

            return cls.read(*decoded(path, only), path)
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                described = (file.metadata() or {}).get("shard", "{}")
                names = [n for n in file.keys() if n != "rows" and (only is None or n in only)]  # noqa: SIM118 - no mapping
                rows = file.get_tensor("rows")
                return cls.read(described, rows, {name: file.get_tensor(name) for name in names}, path)
        except SafetensorError as error:
            raise UsageError(f"{path} is no shard of a job: {error}") from error

    @classmethod
    def read(cls, described: str, rows: Tensor, tensors: Mapping[str, Tensor], path: Path) -> Shard:
        """A shard from what ``described`` gave, and its tensors."""
        facts = json.loads(described)
        if facts.pop("format", None) != FORMAT:
            raise UsageError(f"{path} is no shard of this version: expected {FORMAT}")
        return cls(rows, tensors, facts.pop("ids"), facts)
