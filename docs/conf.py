"""The site of docs/, built by `make docs`: its pages, their order, and how it looks."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]

project = "codepath"
copyright = "The codepath authors"
root_doc = "index"
extensions = [
    "myst_parser",
    "sphinx_copybutton",
    # docs/extensions:
    "api_pages",
    "command_line_page",
    "mathematics",
    "page_text",
    "repository_files",
]

# The pages in the order of the side bar; a page that is missing here or there fails the build.
navigation = {
    "Start": ["quick-start", "explore", "replicate-cifar", "replicate-imagenet"],
    "Use a network": ["timm", "binary-classifiers", "early-exits"],
    "Train": ["coding-schemes", "data", "training", "cluster"],
    "Understand": ["evidence", "promises", "block", "benchmarks", "glossary"],
    "Reference": ["reference/cli", "reference/api/index", "reference/numbers"],
    "The project": ["decisions/index", "contributing", "changelog"],
}
results = str(HERE.parent / "results")

exclude_patterns = ["build", "extensions", "static", "decisions/README.md"]
suppress_warnings = ["config.cache"]
show_warning_types = True
nitpicky = False

myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline", "attrs_block", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "codepath"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": False, "top_of_page_buttons": []}
html_math_renderer = "mathml"
html_domain_indices = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div.highlight-sh pre, div.highlight-python pre"
