"""Runs the code blocks of a page in the current folder, in order, as a reader would: ``python blocks.py PAGE``.

A block whose first line is a comment that names a file is written to that file. Of the others, ``python`` blocks share a
namespace, ``sh`` blocks are run by bash, ``yaml``, ``toml`` and ``json`` must parse, and a ruleset must be one that
``attrkit rules check`` accepts. ``text`` is not run; a language that is not known here is a fault, as is a block that is
skipped without a reason. Set-up that readers do not see stands in ``<!-- invisible-code-block: python ... -->``.
"""

from __future__ import annotations

import json
import re
import site
import subprocess
import sys
import sysconfig
import tomllib
import traceback
import types
import warnings
from pathlib import Path
from unittest import SkipTest

import yaml
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser

FILE = re.compile(r"# (\w[\w./-]*\.\w+)\n")
RULESET = re.compile(r"^schema: attrkit/ruleset@", re.MULTILINE)
run_python = PythonEvaluator()


def python(example):
    """Run it; what an earlier block installed can be imported."""
    site.addsitedir(sysconfig.get_path("purelib"))  # reads the files by which editable installations are found
    run_python(example)


def sh(example):
    """Run it by a bash that stops at the first failure."""
    subprocess.run(["bash", "-euo", "pipefail", "-c", example.parsed], check=True)  # noqa: S607 - that of the reader


def yaml_(example):
    """Parse it; check it where it is a ruleset."""
    yaml.safe_load(example.parsed)
    if RULESET.search(example.parsed):
        check_ruleset(example.parsed)


def check_ruleset(text):
    """Raise where ``attrkit rules check`` finds a fault."""
    from attrkit.cli import main

    file = Path("block-of-this-page.yaml")
    file.write_text(text)
    status = main(["rules", "check", str(file)])
    file.unlink()
    assert status == 0, "attrkit rules check refuses it"


LANGUAGES = {
    "python": python,
    "sh": sh,
    "yaml": yaml_,
    "toml": lambda example: tomllib.loads(example.parsed) and None,
    "json": lambda example: json.loads(example.parsed) and None,
    "text": lambda example: None,
}


def evaluate(example):
    """Write one block, or run it."""
    language, source = example.region.lexemes["arguments"].strip(), example.parsed
    if named := FILE.match(source):
        file = Path(named[1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        if RULESET.search(source):
            check_ruleset(source)
        return
    assert language in LANGUAGES, f"blocks of {language or 'no language'} are not tested; name a file, or one of {[*LANGUAGES]}"
    LANGUAGES[language](example)


class Blocks(CodeBlockParser):
    """Every fenced or hidden block, whatever its language; directives of MyST are none."""

    language = "any"

    def __call__(self, document):
        """The regions of blocks."""
        self.lexers[0].info_pattern = re.compile(r"(?P<language>.*)$\n", re.MULTILINE)  # those without a language too
        for region in self.lexers(document):
            if not region.lexemes["arguments"].startswith("{"):
                region.parsed, region.evaluator = region.lexemes["source"], evaluate
                yield region


class Skips(SkipParser):
    """Instructions to skip what follows, each with its reason."""

    def __call__(self, document):
        """Their regions."""
        for region in super().__call__(document):
            action, reason = region.parsed
            assert reason or action == "end", f'skip: {action} needs a reason, like: skip: {action} "CI runs it"'
            yield region


def say(text):
    """Print it before anything that later blocks print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(page):
    """Run a page's blocks up to the first that fails, which is reported with its line; returns whether all went well."""
    module = types.ModuleType("page")  # a real one, in which declarations and classes can be found
    sys.modules["page"] = module
    sys.path.insert(0, "")
    warnings.simplefilter("error")
    document = Sybil([Blocks(), Skips()]).parse(Path(page))
    document.namespace = module.__dict__
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest as reason:
            say(f"{page}:{example.line}: skipped: {reason}")
        except BaseException:  # noqa: BLE001 - sys.exit() in a block is a fault of the page too
            say(f"{page}:{example.line}: this block fails")
            traceback.print_exc(file=sys.stdout)
            return False
    return True


if __name__ == "__main__":
    sys.exit(0 if run(sys.argv[1]) else 1)
