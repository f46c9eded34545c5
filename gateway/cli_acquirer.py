"""The command ``vitrine acquirer``: the simulated acquirer as a process of its own, for trying out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli_opening import ERR, OUT, say

acquirer = typer.Typer(no_args_is_help=True, help="The simulated acquirer: a bank with test cards.")


@acquirer.callback()
def _of_several() -> None:
    """Keeps ``serve`` a command with a name, though it is the only one."""


@acquirer.command("serve")
def serve(
    host: Annotated[str | None, typer.Option(help="Address. Default: this machine only.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. Default: 8090.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where its books are. Default: var/acquirer.")
    ] = None,
    slow_ms: Annotated[int | None, typer.Option(help="How long the slow card takes.", min=0)] = None,
    keys_kept_ms: Annotated[
        int | None, typer.Option(help="Forget idempotency keys after this long. Default: never.", min=0)
    ] = None,
    debits_take_ms: Annotated[
        int | None, typer.Option(help="How long a bank takes over a direct debit.", min=0)
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(help="Where events go: http://127.0.0.1:8070/v1/webhooks/simulated is a local vault's."),
    ] = None,
) -> None:
    """Run the simulated acquirer until it is stopped.

    Callers must show the key in VITRINE_ACQUIRER_KEY; the one in VITRINE_ACQUIRER_WEBHOOK_KEY signs events. A
    vault uses it with VITRINE_VAULT_ACQUIRER_URL and VITRINE_VAULT_ACQUIRER_KEY.
    """
    from gateway.logs import configure
    from wallets.vault.providers.acquirer.serving import AcquirerOptions, KeyMissingError, run

    configure()
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "slow_ms": slow_ms,
        "keys_kept_ms": keys_kept_ms,
        "debits_take_ms": debits_take_ms,
        "webhook_url": webhook_url,
    }
    options = AcquirerOptions(**{name: value for name, value in given.items() if value is not None})

    def ready(url: str) -> None:
        say(OUT, f"The acquirer is open at {url}; data in {options.data_dir}")

    try:
        run(options, ready=ready)
    except KeyMissingError as error:
        say(ERR, str(error), "red")
        raise typer.Exit(2) from None
    except (OSError, OverflowError) as error:
        say(ERR, f"The acquirer cannot open: {str(error).splitlines()[0]}", "red")
        raise typer.Exit(1) from None
