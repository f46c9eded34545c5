"""``python -m wallets.vault.providers.acquirer serve``: what ``vitrine acquirer serve`` does, without the
gateway's packages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wallets.vault.providers.acquirer.serving import AcquirerOptions, KeyMissingError, run


def main() -> int:
    """Serve until a signal."""
    defaults = AcquirerOptions()
    parser = argparse.ArgumentParser(prog="acquirer", description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--data-dir", type=Path, default=defaults.data_dir)
    parser.add_argument("--slow-ms", type=int, default=defaults.slow_ms, help="how long the slow card takes")
    parser.add_argument("--keys-kept-ms", type=int, help="forget idempotency keys after this long")
    parser.add_argument(
        "--debits-take-ms", type=int, default=defaults.debits_take_ms, help="how long a bank takes"
    )
    parser.add_argument("--webhook-url", help="where events go")
    given = vars(parser.parse_args())
    del given["command"]
    try:
        run(AcquirerOptions(**given))
    except KeyMissingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
