"""Games: the objective as a function of which features are there, whatever features are and what replaces the others."""

from attrkit.coalitions.estimate import Estimate
from attrkit.coalitions.features import NO_FEATURE, Features, Players
from attrkit.coalitions.game import Game
from attrkit.coalitions.rows import Rows

__all__ = ["NO_FEATURE", "Estimate", "Features", "Game", "Players", "Rows"]
