from attrkit.testing import conformance

test_idgi = conformance("idgi")
