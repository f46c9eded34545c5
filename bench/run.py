"""What every measurement shares: where it works, how long it may take, and its processes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.goods import write_merchant
from bench.processes import Process
from bench.server import ServerPlan

_READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. Counts are per segment or per client, as named."""

    clients: int
    place_segments: int
    place_each: int
    shop_warm_up_s: float
    shop_window_s: float
    ask_segments: int
    ask_each: int
    idle_connections: int
    ledger_rows: int
    ledger_segments: int
    ledger_each: int
    authorize_s: float
    tokenize_segments: int
    tokenize_pairs: int
    gas_batches: int
    mint_segments: int
    mint_each: int
    anvil_segments: int
    anvil_each: int


FULL = Scale(
    clients=200,
    place_segments=6,
    place_each=5,
    shop_warm_up_s=6.0,
    shop_window_s=20.0,
    ask_segments=7,
    ask_each=100,
    idle_connections=2_000,
    authorize_s=30.0,
    tokenize_segments=5,
    tokenize_pairs=4_000,
    ledger_rows=1_000_000,
    ledger_segments=25,
    ledger_each=128,
    gas_batches=6,
    mint_segments=5,
    mint_each=2_000,
    anvil_segments=8,
    anvil_each=2_000,
)
QUICK = Scale(
    clients=200,
    place_segments=2,
    place_each=2,
    shop_warm_up_s=2.0,
    shop_window_s=5.0,
    ask_segments=2,
    ask_each=25,
    idle_connections=300,
    authorize_s=6.0,
    tokenize_segments=2,
    tokenize_pairs=1_000,
    ledger_rows=1_000_000,
    ledger_segments=11,
    ledger_each=128,
    gas_batches=3,
    mint_segments=3,
    mint_each=600,
    anvil_segments=3,
    anvil_each=600,
)
SMOKE = Scale(
    clients=6,
    place_segments=1,
    place_each=2,
    shop_warm_up_s=0.5,
    shop_window_s=2.0,
    ask_segments=1,
    ask_each=5,
    idle_connections=20,
    authorize_s=1.5,
    tokenize_segments=1,
    tokenize_pairs=128,
    ledger_rows=20_000,
    ledger_segments=2,
    ledger_each=16,
    gas_batches=1,
    mint_segments=1,
    mint_each=40,
    anvil_segments=1,
    anvil_each=40,
)


class Run:
    """One measurement's folder and processes; ends them all when it is left."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder = folder
        self.scale = scale
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Run:
        self.folder.mkdir(parents=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    @property
    def data_dir(self) -> Path:
        """Where the gateway of this measurement keeps its data."""
        return self.folder / "data"

    async def gateway(
        self, *, workers: bool, customers: int, cards: bool = True, times_provider: bool = False
    ) -> Gateway:
        """Start a gateway; the first one imports the merchant."""
        catalog = self.folder / "catalog"
        new = not catalog.exists()
        if new:
            write_merchant(catalog)
        plan = ServerPlan(
            str(self.data_dir), str(catalog) if new else "", workers, customers, cards, times_provider
        )
        return await self._ready("bench.server", plan.text())

    async def echo(self) -> Gateway:
        """Start the echo server."""
        return await self._ready("bench.echo")

    async def load(self) -> Process:
        """Start a process of clients."""
        return await self._start("bench.load")

    async def _ready(self, module: str, *arguments: str) -> Gateway:
        process = await self._start(module, *arguments)
        ready = await process.line(_READY_WITHIN_S)
        return Gateway(process, ready["url"], ready["customers"])

    async def _start(self, module: str, *arguments: str) -> Process:
        process = await Process.start(module, self.folder / f"{module}.log", *arguments)
        self._closing.push_async_callback(process.stop)
        return process


@dataclass(frozen=True, slots=True)
class Gateway:
    """A server that is ready."""

    process: Process
    url: str
    customers: list[dict[str, str]]
