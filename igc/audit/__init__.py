"""The auditor: a compiled model against its checkpoint, without any of the compiler's passes."""

from igc.audit.auditor import Audit, audit

__all__ = ["Audit", "audit"]
