"""Rewrites of single calls: operations with several spellings or outputs, as those with rules."""
