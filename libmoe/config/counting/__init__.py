"""Parameters, operations and memory of a model, counted from its settings: no torch, no weights."""
