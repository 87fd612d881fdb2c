# SPDX-License-Identifier: Apache-2.0
"""The pages for a browser."""

from __future__ import annotations

LIVE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>TIW simulator</title>
<style>
body { font: 15px system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; }
th { border-bottom: 1px solid #999; } td { border-bottom: 1px solid #ddd; }
.RECORDING { color: #b00; font-weight: bold; } .FINISHED { color: #060; } .FAILED { color: #b00; }
#gone { color: #b00; }
</style>
</head>
<body>
<h1>TIW simulator <span id="gone" role="status"></span></h1>
<p id="counts"></p>
<h2>Recordings</h2>
<table><thead><tr><th>task</th><th>room</th><th>state</th><th>next state in</th>
<th>finish reason</th><th>videos</th><th>requests</th></tr></thead><tbody id="recordings"></tbody>
</table>
<p id="more"></p>
<h2>Other tasks</h2>
<table><thead><tr><th>family</th><th>task</th><th>state</th><th>progress</th>
<th>next state in</th><th>requests</th></tr></thead><tbody id="tasks"></tbody></table>
<h2>Faults</h2>
<table><thead><tr><th>fault</th><th>hits</th></tr></thead><tbody id="faults"></tbody></table>
<h2>Callbacks</h2>
<table><thead><tr><th>event</th><th>task</th><th>mode</th><th>attempts</th><th>status</th></tr>
</thead><tbody id="callbacks"></tbody></table>
<script>
"use strict";
const MOST = 200;
function row(cells, name) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    line.appendChild(document.createElement("td")).textContent = cell ?? "";
  }
  if (name) line.children[2].className = name;
  return line;
}
function fill(id, rows) { document.getElementById(id).replaceChildren(...rows); }
function seconds(value) { return value === null ? "" : value.toFixed(1) + " s"; }
async function get(what) { return (await fetch("/_simulator/" + what)).json(); }
async function show() {
  try {
    const [all, others, stats, faults, callbacks] = await Promise.all(
      ["recordings", "tasks", "stats", "faults", "callbacks"].map(get));
    const recordings = all.recordings.slice(-MOST).reverse();
    fill("recordings", recordings.map((r) => row([r.task_id, r.room_id, r.status,
      seconds(r.next_state_in_s), r.finish_reason, r.videos, stats.by_task[r.task_id] ?? 0],
      r.status)));
    const hidden = all.recordings.length - recordings.length;
    document.getElementById("more").textContent = hidden ? `and ${hidden} older ones` : "";
    fill("tasks", others.tasks.slice(-MOST).reverse().map((t) => row([t.family, t.task_id,
      t.status, t.progress, seconds(t.next_state_in_s), stats.by_task[t.task_id] ?? 0],
      t.status)));
    const requests = Object.entries(stats.requests).map(([name, n]) => `${name} ${n}`).join(", ");
    document.getElementById("counts").textContent = `Requests: ${requests || "none"}. ` +
      `Refused for the limit: ${stats.rejects}. Most within a second: ${stats.max_in_window}. ` +
      `Virtual time: ${new Date(all.now * 1000).toISOString()}, speed ${all.speed}.`;
    fill("faults", faults.faults.map(({name, hits, ...rest}) =>
      row([name + " " + JSON.stringify(rest), hits])));
    fill("callbacks", callbacks.callbacks.slice(-MOST).reverse().map((c) =>
      row([c.event, c.task_id, c.mode, c.attempts, c.status ?? c.error])));
    document.getElementById("gone").textContent = "";
  } catch (error) {
    document.getElementById("gone").textContent = "does not answer";
  }
  setTimeout(show, 1000);
}
show();
</script>
</body>
</html>
"""
"""Recordings, counts, faults and callbacks, renewed every second."""

REPLAY = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Replay</title></head>
<body><p>A replay of a recording in VIDEO_GENERATION_MODE needs Tencent's own player.</p></body>
</html>
"""
"""The page of a recording's ReplayUrl."""
