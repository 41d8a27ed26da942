"""Verifying: does a candidate compute what the reference computes? `igc.verify` is here."""

from igc.verification.result import Check, Leg, OutputCheck
from igc.verification.verifier import verify

__all__ = ["Check", "Leg", "OutputCheck", "verify"]
