"""Fails a build whose network has outgrown its device: python budget_in_ci.py gated.pt

The same in one line of a shell: igc report gated.pt --max-macs 5M --max-params 50k
"""

from __future__ import annotations

import sys

import igc
from igc.reports import over_budget

MAX_MACS, MAX_PARAMS = 5e6, 50e3  # for one input; a multiply-add is one MAC

report = igc.report(sys.argv[1])  # gated against compiled; also takes an ONNX file
print(report.to_markdown())
problems = over_budget(report, MAX_MACS, MAX_PARAMS)  # an op of unknown cost is a problem, too
for problem in problems:
    print(f"{sys.argv[1]}: {problem}", file=sys.stderr)
sys.exit(1 if problems else 0)
