"""Conformance tests for plugins of every kind: everything that a declaration promises, checked.

``test_my_method = conformance("my_method")`` in a test file is all that there is to write; for other plugins than methods
``conformance("my_rule", kind="rule")``.
"""

from attrkit.testing.conformance import conformance

__all__ = ["conformance"]
