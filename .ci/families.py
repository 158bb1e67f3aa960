"""The tests of each package in plugins/, as if no other were installed: ``families.py [PACKAGE ...]``, by default all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
known = sorted(folder.name for folder in (ROOT / "plugins").glob("attrkit_*"))
families = sys.argv[1:] or known
failed = sorted(set(families) - set(known))
for family in (family for family in families if family in known):
    folders = sorted((ROOT / "tests" / "plugins").glob(family.removeprefix("attrkit_") + "*/"))
    print(f"\n--> {family}: {', '.join(folder.name for folder in folders) or 'no tests below tests/plugins'}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-m", "not slow", "--only", family, *map(str, folders)]
    if folders and subprocess.run(command, cwd=ROOT, check=False).returncode:
        failed.append(family)
print(f"families: {len(families)}, failed: {' '.join(failed) or 'none'}")
sys.exit(len(failed))
