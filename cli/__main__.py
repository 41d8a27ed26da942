"""`python -m igc_cli`, for where the script `igc` is not on the path."""

from __future__ import annotations

from .main import main

main()
