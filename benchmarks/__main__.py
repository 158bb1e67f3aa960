"""``python -m benchmarks``, from the root of the repository: measure, print tables, and with ``--write`` renew the document."""

import argparse
import sys
import warnings
from pathlib import Path

import torch

from benchmarks.cases import CASES, Case, MissingError
from benchmarks.measuring import SAMPLE, WARM_CALLS, costs, difference
from benchmarks.models import MODELS, Subject, build
from benchmarks.table import Row, head, line, report

_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    """Measure what the arguments choose."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", default="", help="the cases whose names contain this")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=15, help="samples of each side (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="after which a row starts no further round (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--write", action="store_true", help=f"renew docs/{_DOCUMENT.name}")
    given = parser.parse_args()
    if given.write and (given.only or given.models != list(MODELS)):
        parser.error("--write is for all cases and models")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    warnings.simplefilter("ignore")  # Captum's about arguments and hooks
    torch.set_num_threads(1)
    device = torch.device(given.device)
    cases = [case for case in CASES if given.only.lower() in case.name.lower()]
    tables = {name: _table(build(name, device), cases, given.rounds, given.seconds) for name in given.models}
    if given.write:
        _DOCUMENT.write_text(report(tables, device, warm=WARM_CALLS, sample=SAMPLE), encoding="utf-8")


def _table(subject: Subject, cases: list[Case], rounds: int, seconds: float) -> list[Row]:
    sys.stdout.write(f"\n{subject.name}\n{head()}\n")
    rows = []
    for case in cases:
        if case.applies(subject):
            rows.append(_row(subject, case, rounds, seconds))
            sys.stdout.write(f"{line(rows[-1])}\n")
            sys.stdout.flush()
    return rows


def _row(subject: Subject, case: Case, rounds: int, seconds: float) -> Row:
    try:
        sides = case.sides(subject)
        found = costs(sides, subject.x.device, rounds, seconds)
        apart = difference(sides["attrkit"](), sides["captum"]())
    except MissingError as error:
        return Row(case.name, failure=f"missing: {error}")
    except Exception as error:  # noqa: BLE001 - one row must not cost all others
        return Row(case.name, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:80]}")
    return Row(case.name, found, case.bar(subject), apart, case.differs)


main()
