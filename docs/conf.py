"""Settings of Sphinx: `make docs` builds the site into build/site, strictly; it loads nothing from other hosts."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

project = "refconv"
copyright = "2026, the refconv authors"  # noqa: A001
release = importlib.metadata.version("refconv")
root_doc = "index"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]

html_theme = "furo"
html_title = "refconv"
html_css_files = ["site.css"]
html_static_path = ["_static"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["math"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
maximum_signature_line_length = 100
python_use_unqualified_type_names = True


def _mathml(latex: str, node: nodes.Node, *, display: bool = False) -> str:
    try:
        return str(latex2mathml.tex2mathml(latex, as_block=display))
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", latex, error, location=node)
        return ""


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), node))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    for formula in node.astext().split("\n\n"):
        translator.body.append(f'<div class="math">{_mathml(formula, node, display=True)}</div>\n')
    raise nodes.SkipNode


_MARKUP = re.compile(r"(``.*?``)|(\||(?<=[\[ ])\*(?=\w+[\],]))")


def _literal(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Show the bars of norms and the stars of shapes as they stand: |g|, [batch, *spatial]."""
    lines[:] = [_MARKUP.sub(lambda found: found[1] or f"\\{found[2]}", line) for line in lines]


def setup(app: Any) -> None:
    """Show formulas as MathML, which browsers draw without scripts.

    Args:
        app: Sphinx.
    """
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("autodoc-process-docstring", _literal)
