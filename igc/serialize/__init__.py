"""A `Program` as plain data, and back: lists, dicts, text and numbers, nothing that can run."""

from igc.serialize.reading import from_data
from igc.serialize.writing import to_data

__all__ = ["from_data", "to_data"]
