"""Which coalitions are asked for."""
