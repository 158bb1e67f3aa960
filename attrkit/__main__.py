"""``python -m attrkit`` is ``attrkit``."""

import sys

from attrkit.cli import main

sys.exit(main())
