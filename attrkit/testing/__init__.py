"""Conformance tests for plugins of every kind: everything that a declaration promises, checked.

``test_my_method = conformance("my_method")`` in a test file is all that there is to write; for other plugins than methods
``conformance("my_rule", kind="rule")``. ``attrkit plugins check NAME`` does the same without a test file.

What there is of each kind, one function for each promise, whose first line says it:

- ``checks``: of methods, at each place that they attribute to: what the function returns, before anything casts or copies it;
  examples and batches; seeds; what attributions mean; precision and devices; layers; costs and memory; what is left behind;
  messages.
- ``wrappers``: of methods of methods, around two of attrkit's own.
- ``rules``: at each operation that a rule is for: shapes, conservation, linearity, and a slow oracle by explicit Jacobians.
- ``rulesets``: over the networks of ``zoo``.
- ``parts``: of replacements, segmenters, designs, estimators and surrogates, each over inputs or games with known answers.
- ``executors``: order, errors, threads, work without end.

Every declaration is also checked for what ``declared`` holds: that workers can unpickle it, that it says what it is, and that
whatever is given for an option ends in numbers or in a UsageError that names the option.

A check runs where a declaration makes its promise; ``expected={check: reason}`` says which of them is known to fail, and fails
when it does not. Methods that refuse rows of features are given images of them. Models are small, float64 and seeded, inputs
the same each time, and torch has one thread meanwhile: a method takes some seconds.
"""

from attrkit.testing.conformance import conformance

__all__ = ["conformance"]
