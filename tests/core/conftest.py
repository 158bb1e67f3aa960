"""Distributions as an installer would leave them, for tests of what finds plugins. Needs no torch."""

import sys
from importlib import invalidate_caches

import pytest


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution on the path: metadata and one module, as an installer would, without the seconds of one."""
    modules = []

    def put(dist, code, entry_points, requires=(), files=None, groups=("attrkit",)):
        module = dist.replace("-", "_")
        modules.append(module)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", "Version: 1.0", *(f"Requires-Dist: {r}" for r in requires)]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        targets = [f"{name} = {module}{target}" for name, target in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(line for group in groups for line in (f"[{group}]", *targets)) + "\n")
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text(code)
        for name, text in (files or {}).items():
            (tmp_path / module / name).write_text(text)
        invalidate_caches()

    for variable in ("ATTRKIT_ONLY", "ATTRKIT_BLOCK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield put
    for module in modules:
        sys.modules.pop(module, None)
