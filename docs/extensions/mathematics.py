"""Formulas as MathML, which browsers draw by themselves: no script and no request."""

from __future__ import annotations

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_log = logging.getLogger(__name__)


def _markup(formula: nodes.Element, as_block: bool) -> str:
    """The formula as MathML; one that cannot be read is a warning, hence an error of the build."""
    text = formula.astext().replace(r"\dots", r"\ldots")
    try:
        if r"\operatorname*" in text:
            raise ValueError(r"write \underset{k}{\operatorname{argmin}}")
        return str(latex2mathml.tex2mathml(text, as_block=as_block))
    except (SyntaxError, ValueError) as error:
        _log.warning("formula: %s: %s", error, formula.astext(), location=formula, type="math")
        return f"<code>{formula.astext()}</code>"


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """A formula within a sentence."""
    self.body.append(f'<span class="math">{_markup(node, as_block=False)}</span>')
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on lines of its own, with its number where it has one."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_markup(node, as_block=True))
    if node.get("number"):
        self.body.append(f'<span class="equation-number">({node["number"]})</span>')
        self.add_permalink_ref(node, "Link to this equation")
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
