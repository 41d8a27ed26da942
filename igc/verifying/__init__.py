"""Verifying: does a candidate compute what the reference computes? `igc.verify` is here."""

from igc.verifying.check import Check, Leg, OutputCheck
from igc.verifying.run import verify

__all__ = ["Check", "Leg", "OutputCheck", "verify"]
