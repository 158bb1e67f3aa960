from attrkit.testing import conformance

test_mamba = conformance("mamba", kind="ruleset")
test_selective_scan = conformance("selective_scan", kind="rule")
