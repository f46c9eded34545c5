"""``python -m bench``: measure, print a table, write ``bench/results/latest.json``.

``--quick`` measures less of everything (under 40 s) and writes nothing unless ``--output`` names a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench import (
    authorizing,
    connections,
    gas,
    ledger_growth,
    mint_anvil,
    mint_embedded,
    placing,
    shopping,
    tokenizing,
)
from bench.figures import NOT_MEASURED, Figure, rounded
from bench.machine import commit, machine
from bench.processes import ROOT, BenchError
from bench.run import FULL, QUICK, SMOKE, Run, Scale

LATEST = ROOT / "bench" / "results" / "latest.json"
_MEASUREMENTS = {
    "placing": placing.measure,
    "shopping": shopping.measure,
    "authorizing": authorizing.measure,
    "tokenizing": tokenizing.measure,
    "connections": connections.measure,
    "ledger": ledger_growth.measure,
    "gas": gas.measure,
    "mint_embedded": mint_embedded.measure,
    "mint_anvil": mint_anvil.measure,
}
_WITHIN_S = 295.0


async def measure(scale: Scale, names: list[str]) -> list[Figure]:
    """Run the measurements one after the other, each in a fresh folder on the repository's disk."""
    # Told to end, the run still ends its processes and removes its folder.
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    parent = ROOT / "var"
    parent.mkdir(exist_ok=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as folder:
        async with asyncio.timeout(_WITHIN_S):
            for name in names:
                async with Run(Path(folder) / name, scale) as run:
                    figures += await _MEASUREMENTS[name](run)
                shutil.rmtree(run.folder)
    return figures


def document(figures: list[Figure]) -> dict[str, Any]:
    """Return what the results file holds."""
    return {
        "machine": machine(),
        "commit": commit(),
        "figures": [figure.document() for figure in figures],
    }


def show(console: Console, figures: list[Figure]) -> None:
    """Print the figures beside their targets, then what each was measured with."""
    table = Table("figure", "value", "target", "")
    for figure in figures:
        sign = ">=" if figure.better == "higher" else "<="
        target = "" if figure.target is None else f"{sign} {figure.target:g}"
        met = {None: "", True: "[green]met[/]", False: "[bold red]missed[/]"}[figure.met]
        unit = "" if figure.unit == "ratio" else f" {figure.unit}"
        if figure.value is None:
            table.add_row(figure.name, "-", target, f"[bold red]{NOT_MEASURED}[/]")
        else:
            table.add_row(figure.name, f"{rounded(figure.value):g}{unit}", target, met)
    console.print(table)
    for figure in figures:
        # Words of others, with brackets of their own: not markup.
        console.print(
            f"[bold]{figure.name}[/]", Padding(Text(figure.workload), (0, 0, 0, 2)), highlight=False
        )
    unmeasured = [figure.name for figure in figures if figure.value is None]
    if unmeasured:
        console.print(f"[bold red]{NOT_MEASURED} on this machine: {', '.join(unmeasured)}[/]")


def main() -> int:
    """Entry point; exits with 1 when the run failed or its orders do not add up."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="measure less of everything, under 40 s")
    size.add_argument(
        "--smoke", action="store_true", help="only show that the harness works; figures mean nothing"
    )
    parser.add_argument(
        "--only", action="append", choices=list(_MEASUREMENTS), help="measure only this; repeatable"
    )
    parser.add_argument("--output", type=Path, help="where to write the results")
    given = parser.parse_args()
    scale = SMOKE if given.smoke else QUICK if given.quick else FULL
    names = given.only or list(_MEASUREMENTS)
    output = given.output or (LATEST if scale is FULL and not given.only else None)
    console = Console()
    began = time.monotonic()
    try:
        figures = uvloop.run(measure(scale, names))
    except TimeoutError:
        console.print(f"[red]The run did not end within {_WITHIN_S:.0f} s.[/]")
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("[red]The run was interrupted.[/]")
        return 1
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    show(console, figures)
    console.print(f"{time.monotonic() - began:.0f} s")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document(figures), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
