"""Sphinx's configuration: the course as a site that works without the network.

`website/build.py` stages the pages, copies this file beside them, and runs Sphinx.
"""

project = "Attention in Context"
author = "The developers of Attention in Context"
copyright = "The developers. Code: MIT. Prose and figures: CC BY 4.0"
language = "en"

extensions = ["myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_static", "_extra"]

nb_execution_mode = "off"  # the lessons are stored with their outputs
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from the network
nb_merge_streams = True
myst_enable_extensions = [
    "amsmath",
    "attrs_block",
    "colon_fence",
    "deflist",
    "dollarmath",
]
myst_heading_anchors = 3
myst_update_mathjax = False

# build.py copies MathJax there: by default it would come from the network.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {
    # No menu: each formula would be a stop for the keyboard. Screen readers get MathML.
    "options": {"enableMenu": False},
}

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_favicon = "_static/favicon.svg"
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_copy_source = False
html_show_sphinx = False
html_use_index = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#00529b",
        "color-brand-content": "#00529b",
        "color-brand-visited": "#6b3fa0",
        "font-stack": (
            '"Inter", system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", '
            '"DejaVu Sans", sans-serif'
        ),
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ec5ff",
        "color-brand-content": "#8ec5ff",
        "color-brand-visited": "#c9a7f5",
    },
}
