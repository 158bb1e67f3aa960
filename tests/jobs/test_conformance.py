"""The executors of jobs keep the promises of the kit. Faults in placements are in tests/kit."""

import pytest

from attrkit.testing import conformance

test_inline = conformance("inline", kind="placement")
test_local = pytest.mark.slow(conformance("local", kind="placement"))
