"""A `Program` as plain data, and back: lists, dicts, text and numbers, nothing that can run."""

from igc.checkpoint.data.reading import from_data
from igc.checkpoint.data.writing import to_data

__all__ = ["from_data", "to_data"]
