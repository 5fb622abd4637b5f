"""Read the JSON of `jdetrt bench sweep`: the most accurate configuration that is fast enough.

python examples/read_sweep.py benchmarks/results/sweep-nano-epyc-2core.json 30
"""

import json
import sys
from pathlib import Path
from statistics import median

_, path, least_fps = sys.argv
fast = {}
for row in json.loads(Path(path).read_text())["rows"]:
    if row["error"] is None and row["accuracy"] is not None:
        fps = median(run["system_fps"] for run in row["runs"])
        if fps >= float(least_fps):
            fast[row["accuracy"]["HOTA"]] = (row, fps)
if not fast:
    sys.exit(f"Nothing runs at {least_fps} FPS.")
hota = max(fast)
row, fps = fast[hota]
width, height = row["size"]
print(f"{width}x{height} {row['precision']}: HOTA {hota:.1f} at {fps:.1f} FPS")
print(row["deploy"])
