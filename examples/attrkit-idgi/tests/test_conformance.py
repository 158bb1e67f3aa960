from attrkit.testing import conformance

MOVES = "where another feature moves the objective, the gradient at one that stands still gets a part of that: so in the paper"
test_idgi = conformance("idgi", expected={"what_does_not_move_gets_nothing": MOVES})
