"""How the report looks, in light and dark, on screens and on paper."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;
--ink:#1c2733;--soft:#5b6876;--line:#dce2e8;--field:#f4f6f8;--paper:#fff;--live:#4d6a86;--cand:#c2600a;
--base:#8a96a3;--same:33,102,172;--other:194,96,10;--good:#1a7f37;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{
--ink:#e4e9ee;--soft:#9aa7b4;--line:#323d48;--field:#1c242c;--paper:#12181e;--live:#8fb3d5;
--cand:#f2a65a;--base:#6f7c89;--same:88,150,214;--other:242,150,70;--good:#56c271;--bad:#ff8a80}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,"Segoe UI",sans-serif;color:var(--ink);background:var(--paper);max-width:1080px;
margin:2.2rem auto;padding:0 1.2rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .2rem;overflow-wrap:anywhere}h1 .arrow{color:var(--soft);font-weight:400}
h2{font-size:1.15rem;margin:2.6rem 0 .3rem}h2+p{margin-top:0}p{margin:.3rem 0;max-width:80ch}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.6rem 0}
th,td{padding:.35rem .7rem .35rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);font-size:.82rem;vertical-align:bottom}td.n,th.n{text-align:right}
td:first-child{min-width:6.5rem}td,.n,b{font-variant-numeric:tabular-nums}tr:last-child td{border-bottom:0}
code{font:.85em/1.45 ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere;unicode-bidi:isolate}
pre{background:var(--field);padding:.7rem .9rem;border-radius:6px;overflow-x:auto;margin:.4rem 0}
.sum{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.7rem;margin:1.2rem 0 .8rem}
.sum div{background:var(--field);padding:.7rem .9rem;border-radius:8px;color:var(--soft);font-size:.86rem;line-height:1.35}
.sum b{display:block;font-size:1.45rem;color:var(--ink);line-height:1.2;margin-bottom:.15rem}
.lead{font-size:1.02rem;border-left:3px solid var(--cand);padding:.1rem 0 .1rem .8rem;margin:1rem 0}
.matrix td,.matrix th{padding:.4rem .8rem;border:1px solid var(--line)}.matrix th{vertical-align:middle}
.matrix td.n{min-width:4.5rem}.matrix th.n{text-align:right}
.matrix .all{color:var(--soft);background:var(--field)}.same{box-shadow:inset 0 0 0 2px rgba(var(--same),.7)}
.key{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin:0 .35em 0 .9em}.key:first-child{margin-left:0}
.good,.bad{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}
.tag{font-size:.78rem;border:1px solid var(--line);border-radius:99px;padding:0 .5em;color:var(--soft)}
details{margin:.3rem 0}summary{cursor:pointer;color:var(--soft)}svg{display:block;max-width:100%;height:auto}
td svg{max-width:none}
svg text{font:10.5px system-ui,sans-serif;fill:var(--soft)}.num{white-space:nowrap;font-size:.85rem}
@media print{body{max-width:none;margin:0}h2{break-after:avoid}tr{break-inside:avoid}}
"""
