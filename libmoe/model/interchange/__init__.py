"""Import of upstream's released checkpoints, and export back.

Upstream is LibMoE (Fsoft-AIC/LibMoE, arXiv:2411.00918), whose layout this package knows as data:
``names`` maps tensors, ``keys`` the ``config.json``.
"""

from libmoe.model.interchange.exporting import export_checkpoint
from libmoe.model.interchange.importing import Origin, import_checkpoint

__all__ = ["Origin", "export_checkpoint", "import_checkpoint"]
