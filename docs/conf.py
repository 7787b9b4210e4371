"""How Sphinx builds these pages: `make docs`. Warnings are errors, so a broken link never ships."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "Finality"
author = "The Finality authors"
release = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

# Every heading has an anchor, so that a page can link to `choosing-a-pattern.md#a-heading`.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]

html_theme = "furo"
html_title = f"Finality {release}"
html_copy_source = False
html_show_sphinx = False
