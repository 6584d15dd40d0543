"""The page that a report is put into: its frame and its looks. Nothing comes from elsewhere."""

from html import escape
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --ink: #1d2430; --soft: #586174; --faint: #dfe3ea; --paper: #fff; --raised: #f5f7fa;
  --bar: #9db4d8; --best: #2a62b8;
  --c0: #1f5fbf; --c1: #b4540a; --c2: #16793a; --c3: #b3261e;
  --c4: #6d3fc4; --c5: #0b7480; --c6: #b0246f; --c7: #6f6300; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e4e8ef; --soft: #9aa5b8; --faint: #323a48; --paper: #14181f; --raised: #1c222c;
  --bar: #3f5a86; --best: #79a8f0;
  --c0: #79a8f0; --c1: #f0a05a; --c2: #66c98a; --c3: #f28b82;
  --c4: #b89af5; --c5: #5cc7d3; --c6: #f08cc0; --c7: #cfc04f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 16px 48px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 36px 0 4px; }
h3 { font-size: 14px; margin: 12px 0 4px; }
p { margin: 4px 0 10px; color: var(--soft); max-width: 75ch; }
dl { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 16px 0 0; }
dt { color: var(--soft); font-size: 12px; } dd { margin: 0; font-weight: 600; }
.wide { overflow-x: auto; border: 1px solid var(--faint); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 6px 8px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
tr:last-child > * { border-bottom: 0; }
thead th { font-size: 12px; white-space: normal; vertical-align: bottom;
  font-weight: 600; color: var(--soft); background: var(--raised); }
tbody th, thead th:first-child { text-align: left; position: sticky; left: 0;
  background: var(--paper); font-weight: 600; }
thead th:first-child { background: var(--raised); }
td small { color: var(--soft); }
td.best { color: var(--best); font-weight: 700; }
td.failed { text-align: left; white-space: normal; min-width: 24em; color: var(--c3); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
  gap: 8px 40px; align-items: start; }
svg { display: block; width: 100%; height: auto; max-width: 620px; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--soft); }
svg .title { fill: var(--ink); } .grid { stroke: var(--faint); } .axis { stroke: var(--soft); }
.line { fill: none; stroke: var(--series); stroke-width: 2; stroke-linejoin: round; }
.dashed .line { stroke-dasharray: 5 3; }
.leader { fill: none; stroke: var(--series); stroke-width: .75; opacity: .5;
  stroke-dasharray: 1 2; }
svg .name { fill: var(--series); font-weight: 600; } circle { fill: var(--series); }
.dashed circle { fill: var(--paper); stroke: var(--series); stroke-width: 2; }
.whisker { stroke: var(--ink); opacity: .6; } g .whisker { stroke: var(--series); }
.bar { fill: var(--bar); } .bar.best { fill: var(--best); }
.s0 { --series: var(--c0); } .s1 { --series: var(--c1); } .s2 { --series: var(--c2); }
.s3 { --series: var(--c3); } .s4 { --series: var(--c4); } .s5 { --series: var(--c5); }
.s6 { --series: var(--c6); } .s7 { --series: var(--c7); }
details { margin-top: 6px; } summary { cursor: pointer; }
pre { overflow-x: auto; background: var(--raised); padding: 12px; border-radius: 8px;
  font-size: 12px; }
"""


def page(title: str, body: str) -> str:
    """Give a whole HTML document; ``title`` is escaped, ``body`` is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, note: str, content: str) -> str:
    """Put content under a heading and a line that explains it; both are escaped."""
    return f"<section><h2>{escape(title)}</h2><p>{escape(note)}</p>{content}</section>\n"


def side_by_side(*parts: str) -> str:
    """Set parts side by side where the page is wide enough, one below the other elsewhere."""
    return '<div class="plots">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>"
