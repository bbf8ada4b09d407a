"""How Sphinx makes the site: `make docs` builds it into build/site, strictly. The site asks nothing of other hosts."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from docutils.utils.math import latex2mathml

project = "refconv"
copyright = "2026, the refconv authors"  # noqa: A001
release = importlib.metadata.version("refconv")
root_doc = "index"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "myst_parser"]
nitpicky = False
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "refconv"
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
templates_path: list[str] = []

myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autosummary_generate = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True


def _mathml(latex: str, *, display: bool) -> str:
    formula = latex2mathml.tex2mathml(latex, as_block=display)
    return str(formula)


def _inline(translator: Any, node: Any) -> None:
    from docutils import nodes

    translator.body.append(_mathml(node.astext(), display=False))
    raise nodes.SkipNode


def _display(translator: Any, node: Any) -> None:
    from docutils import nodes

    translator.body.append(f'<div class="math">{_mathml(node.astext(), display=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Show formulas as MathML, which browsers draw without scripts.

    Args:
        app: Sphinx.
    """
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
