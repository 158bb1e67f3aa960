"""From values of coalitions to a score for each feature."""
