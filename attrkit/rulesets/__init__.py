"""Reading, checking and filling in rulesets. Needs no torch."""
