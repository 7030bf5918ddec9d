"""Parameters, operations and memory of a model, counted from its settings: no torch, no weights."""

from libmoe.config.counting.anatomy import Anatomy, anatomy
from libmoe.config.counting.flops import Operations, forward_flops, training_flops
from libmoe.config.counting.memory import Memory, count_memory
from libmoe.config.counting.parameters import Parameters, count_parameters
from libmoe.config.counting.rows import RowCosts, row_costs

__all__ = [
    "Anatomy",
    "Memory",
    "Operations",
    "Parameters",
    "RowCosts",
    "anatomy",
    "count_memory",
    "count_parameters",
    "forward_flops",
    "row_costs",
    "training_flops",
]
