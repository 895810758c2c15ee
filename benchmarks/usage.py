"""Does usage stay quick when there is a lot of it? Inserts, rollups and every query of the usage page, at ten
thousand records and at ten million, on SQLite and on PostgreSQL.

    make bench-usage                     ten million records: 12 to 21 minutes for each database
    make bench-usage RECORDS=300000      fewer, to look

Records are spread over ninety days, people and keys by Zipf's law, as traffic is. They are written past the
journal, in the order of time; rollups by ``apikeys/usage/rollups.py`` itself, without minutes that a site has
pruned.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import write_result

ROOT = Path(__file__).resolve().parent.parent
RECORDS = 10_000_000
DATABASES = ("sqlite", "postgresql")
TARGET_MS = 100  # p95 of each query


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--database", choices=DATABASES, action="append")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for database in asked.database or DATABASES:
        rows += measure(database, asked.records)
    print_table(rows)
    print(f"\nWritten to {write_result('usage', rows)}")


def measure(database: str, records: int) -> list[dict[str, Any]]:
    """In a process of its own, with settings of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-usage-", dir=ROOT / "var") as folder:
        result = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.usage_site", database, str(records), str(result)]
        if database == "postgresql":
            command = [sys.executable, "-m", "tests.services", *command]
        environment = {**os.environ, "DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        rows: list[dict[str, Any]] = json.loads(result.read_text())
        return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'database':11} {'records':>11}  {'what':44} {'p50 ms':>9} {'p95 ms':>9}")
    for row in rows:
        late = "  over the target" if row["kind"] == "query" and row["p95_ms"] > TARGET_MS else ""
        print(
            f"{row['database']:11} {row['records']:>11,}  {row['what']:44}"
            f" {row['p50_ms']:>9.2f} {row['p95_ms']:>9.2f}{late}"
        )


if __name__ == "__main__":
    main()
