"""Analyses: functions `program -> facts`. Facts are never stored on nodes."""
