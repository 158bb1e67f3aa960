"""Conformance tests for plugins: everything that a declaration promises, checked.

``test_my_method = conformance("my_method")`` in a test file is all that there is to write.
"""

from attrkit.testing.conformance import conformance

__all__ = ["conformance"]
