"""What pyproject.toml declares, without torch and attrkit itself, for pip: ``requirements.py [--oldest] FILE [EXTRA ...]``.

With ``--oldest``, lower bounds become versions: ``numpy>=1.26`` is ``numpy==1.26``, which is 1.26.0. pyparsing, which nothing
here asks for, is then from before 3.3: that deprecates what matplotlib 3.10.0 and older call.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

oldest = "--oldest" in sys.argv
file, *extras = [argument for argument in sys.argv[1:] if argument != "--oldest"]
project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
wanted = list(project["dependencies"])
for extra in extras:  # one may ask for another, which is then read too: attrkit[demo]
    wanted += project["optional-dependencies"][extra]
    extras += re.findall(r"attrkit\[(\w+)\]", " ".join(project["optional-dependencies"][extra]))
lines = (line.replace(">=", "==") if oldest else line for line in wanted if not re.match("torch|attrkit", line))
Path(file).write_text("\n".join([*lines, *["pyparsing<3.3"] * oldest]) + "\n")
