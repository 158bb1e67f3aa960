"""The only code that calls a model: replicas, taps, packing, executors."""

from attrkit.runner.compiling import ROWS as ROWS
from attrkit.runner.executors import Serial as Serial
from attrkit.runner.executors import Threads as Threads
from attrkit.runner.isolation import Forward as Forward
from attrkit.runner.isolation import isolated as isolated
from attrkit.runner.isolation import replicated as replicated
from attrkit.runner.isolation import root_of as root_of
from attrkit.runner.passes import Passes as Passes
from attrkit.runner.runner import ApartError as ApartError
from attrkit.runner.runner import Fit as Fit
from attrkit.runner.runner import Runner as Runner
from attrkit.runner.sharing import Sharing as Sharing
from attrkit.runner.sharing import UnsharedError as UnsharedError
