"""The template language of specfiles and hook files: Go's text/template as Helm 3 sets it up,
with the functions of Sprig and Helm. See docs/templates.md.

`render` is the public function.
"""

from orchestrator.helm.limits import Limits
from orchestrator.helm.renderer import render

__all__ = ["Limits", "render"]
