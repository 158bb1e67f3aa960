"""Linear models that are fitted to values of coalitions."""
