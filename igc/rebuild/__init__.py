"""A model compiled anew from its checkpoint: are graph, bytes and manifest those of the file?"""

from igc.rebuild.rebuilding import Rebuilt, rebuild

__all__ = ["Rebuilt", "rebuild"]
