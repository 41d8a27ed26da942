"""The style sheet of the HTML report."""

STYLE = """\
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e3e3e3; }
th { font-weight: 600; }
tr > th:first-child { text-align: left; min-width: 7rem; overflow-wrap: anywhere; }
td.text { text-align: left; color: #555; }
.map th, .map td { border: 1px solid #fff; } .map td { min-width: 4rem; text-align: center; }
.bars { width: 100%; }
.bars th { width: 18rem; font-weight: 400; } .bars td:nth-child(2) { width: 50%; }
.bars td:last-child { white-space: nowrap; }
.bar { height: .55rem; min-width: 1px; border-radius: 2px; margin: 1px 0; }
.gated { background: #b7b7b7; } .static, .onnx { background: #0b5394; }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-left: .6rem; }
.warning { border-left: 4px solid #c27c0e; background: #fff7e6; padding: .5rem .8rem; }
details { margin: 1rem 0; } summary { cursor: pointer; } footer { margin-top: 3rem; color: #666; }
@media (max-width: 40rem) { .bars th { width: 8rem; } }
"""
