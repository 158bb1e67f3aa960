import torch

from attrkit.testing import conformance

DATA = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))  # the tables of the checks have six columns
test_mean = conformance("neighbours", kind="replacement", options={"data": DATA})
test_draw = conformance("neighbours", kind="replacement", options={"data": DATA, "k": 7, "draw": True})
