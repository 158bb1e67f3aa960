"""Sphinx: ``python -m sphinx -W --keep-going -b html docs OUT``."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

os.environ |= {"ATTRKIT_ONLY": "attrkit:*", "ATTRKIT_BLOCK": ""}  # the reference is of what attrkit ships
sys.path.insert(0, str(Path(__file__).with_name("_ext")))

project = "attrkit"
author = "the attrkit authors"
version = release = installed("attrkit")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "declared"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"attrkit {release}"
html_copy_source = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # the way links to headings are written on the pages where Markdown is read unbuilt

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
suppress_warnings = ["config.cache"]
