"""Facts that tests compare with: the architectures that PNAG's authors published."""

from __future__ import annotations

import csv
from pathlib import Path

_DATA = Path(__file__).parent / "data" / "published_architectures.csv"

# name, platform, budget_ms, architecture, latency_ms, macs_m, top1; all values are text
PUBLISHED = list(csv.DictReader(_DATA.read_text(encoding="utf-8").splitlines()))
SMALLEST = "2,2,2,2,2:3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0:3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0"
