from attrkit.testing import conformance

test_deadline = conformance("deadline", kind="executor")
