"""Safe, code-free save and load of networks, and of the weights of networks built elsewhere."""

from igc.checkpoint.factory import build_model
from igc.checkpoint.fitting import load_into
from igc.checkpoint.reading import (
    is_igc_file,
    load,
    load_program,
)
from igc.checkpoint.weights import read_state_dict
from igc.checkpoint.writing import save, save_program

__all__ = [
    "build_model",
    "is_igc_file",
    "load",
    "load_into",
    "load_program",
    "read_state_dict",
    "save",
    "save_program",
]
