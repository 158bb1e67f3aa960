"""What estimators ask a game, how much they may ask, and in which order."""
