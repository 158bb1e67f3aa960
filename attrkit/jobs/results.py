"""What came of a job: where its shards are, which rows have none, and reading them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from attrkit.jobs.ledger import Ledger
from attrkit.jobs.shard import Shard

if TYPE_CHECKING:
    from torch import Tensor

    from attrkit.explanation import Explanation


@attrs.frozen
class JobResult:
    """What came of a job.

    Attributes:
        folder: the output folder.
        shards: how many shards there are to be.
        files: those that are there, in order.
        rows: how many rows these hold.
        failed: rows without attributions, each with ``row``, ``id``, ``shard`` and ``error``.
        errors: what shards ended in that this call could not finish, by their number.
        done: whether all shards are there.
        warnings: what was warned of on the way, each once.
    """

    folder: Path
    shards: int
    files: tuple[Path, ...] = attrs.field(repr=lambda files: str(len(files)))
    rows: int
    failed: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=lambda failed: str(len(failed)))
    errors: Mapping[int, str] = attrs.field(factory=dict)
    done: bool = False
    warnings: tuple[str, ...] = attrs.field(default=(), repr=False)

    def explanations(self) -> Iterator[Explanation]:
        """Each shard as an Explanation, in order; its details name the ``rows``, and the ``ids`` where there are any."""
        for file in self.files:
            yield explanation_of(Shard.of(file))

    def attributions(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """The number of each row that has attributions, in order, and these by the name of the input or layer."""
        for file in self.files:
            shard = Shard.of(file)
            values = {n.removeprefix("values/"): t for n, t in shard.tensors.items() if n.startswith("values/")}
            for place, row in enumerate(shard.rows.tolist()):
                yield row, {name: tensor[place] for name, tensor in values.items()}


def result_of(folder: Path, errors: Mapping[int, str] | None = None) -> JobResult:
    """What is in an output folder. Raises FileNotFoundError where no job was begun there."""
    ledger = Ledger(folder)
    if (plan := ledger.plan()) is None:
        raise FileNotFoundError(f"no job was begun in {folder}: there is no plan.json")
    commits = ledger.commits(plan).values()
    return JobResult(
        folder=folder,
        shards=plan.shards,
        files=tuple(folder / commit["file"] for commit in commits),
        rows=sum(commit["rows"] for commit in commits),
        failed=tuple(
            {"row": each["row"], "id": each["id"], "shard": commit["shard"], "error": each["error"]}
            for commit in commits
            for each in commit["failed"]
        ),
        errors=errors or {},
        done=len(commits) == plan.shards,
        warnings=tuple(dict.fromkeys(text for commit in commits for text in commit["warnings"])),
    )


def explanation_of(shard: Shard) -> Explanation:
    """A shard's tensors and facts as an explanation."""
    from attrkit.explanation import Explanation

    def named(kind: str) -> dict[str, Tensor]:
        return {n.removeprefix(kind): t for n, t in shard.tensors.items() if n.startswith(kind)}

    delta = shard.tensors.get("delta")
    target = shard.tensors["target"].tolist() if "target" in shard.tensors else shard.facts["target"]
    details = {"rows": shard.rows} | ({} if shard.ids is None else {"ids": shard.ids})
    return Explanation(
        values=named("values/"),
        errors=named("errors/"),
        method=shard.facts["method"],
        options=shard.facts["options"],
        where=shard.facts["where"],
        target=target,
        output=shard.tensors.get("output"),
        baseline_output=shard.tensors.get("baseline_output"),
        delta=delta.T if delta is not None and delta.dim() == 2 else delta,
        details=details,
        seed=shard.facts["seed"],
        model=shard.facts["model"],
    )
