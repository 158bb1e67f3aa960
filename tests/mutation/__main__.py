"""Mutation run: each survivor is a change of a plugin that no test notices.

Changes are cosmic-ray's. A mutant lives in a forked child that imports the changed source instead of the file: nothing is
written to the checkout, torch is imported once, and the child runs only tests that ran the changed function before.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import report
from concerned import Concerned
from mutants import modules_of, sample
from running import Judge

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> None:
    """Mutate, run, and write the report."""
    parser = argparse.ArgumentParser(
        prog="tests/mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="modules or packages of plugins, such as attrkit_gradients.saliency")
    parser.add_argument(
        "--sample", type=int, default=12, metavar="N", help="places to change per module; 0: all (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which places, and which change at each (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=60, help="of tests per mutant, those that need least first (default: %(default)s)"
    )
    parser.add_argument(
        "--results", type=Path, default=HERE / "results.json", help="what is known so far (default: %(default)s)"
    )
    parser.add_argument(
        "--report", type=Path, default=ROOT / "docs" / "mutation.md", help="where the table goes (default: %(default)s)"
    )
    asked = parser.parse_args()
    os.chdir(ROOT)
    results = report.load(asked.results)
    judge = Judge(asked.seconds)
    for package, modules in modules_of(asked.modules):
        concerned = Concerned.measured(
            package, sorted((ROOT / "tests" / "plugins").glob(package.removeprefix("attrkit_") + "*"))
        )
        for module in modules:
            mutants = sample(module, asked.sample, asked.seed)
            results[module.name] = [report.line(mutant, judge(mutant, concerned)) for mutant in mutants]
            report.save(asked.results, results)
            sys.stdout.write(report.summary(module.name, results[module.name]) + "\n")
            sys.stdout.flush()
    report.write(asked.report, results)


if __name__ == "__main__":
    main()
