"""What a unit of work and a query get in their hands.

A **unit** is a plain synchronous function of a `UnitOfWork`. Units that wait together run one after another
in one transaction and share one commit. The rules of a unit:

- it decides, then writes: an expected refusal is raised as a `VitrineError` before the first write;
- it may run more than once (its batch is rolled back when a neighbour fails), so it touches nothing but
  its unit of work; wake-ups, caches and metrics hang on `after_commit`;
- it takes the time and new ids from the unit of work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Executable

from gateway.kernel.ids import Id, IdSource
from gateway.kernel.store.statements import Statement

if TYPE_CHECKING:
    from gateway.kernel.events.model import Event

T = TypeVar("T")
IdT = TypeVar("IdT", bound=Id)
Params = Mapping[str, Any]
_NONE: Params = {}


class Lane(Enum):
    """Who waits: people before machines."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"


class Cursor(Protocol):
    """The part of a DBAPI cursor that is used here (PEP 249)."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, sql: str, parameters: Any = ..., /) -> Any: ...
    def executemany(self, sql: str, parameters: Any, /) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Reader:
    """Reads through prepared statements, or through Core where it is not hot."""

    __slots__ = ("_connection", "_cursor", "_dialect", "now_ms")

    def __init__(self, dialect: str, cursor: Cursor, connection: Connection, now_ms: int) -> None:
        self._dialect = dialect
        self._cursor = cursor
        self._connection = connection
        self.now_ms = now_ms
        """Milliseconds since the epoch, read when this unit or query started."""

    def rows(self, statement: Statement, params: Params | None = None) -> list[Any]:
        """Return all rows as named tuples. Queries state their own limit."""
        text, bind = statement.prepared(self._dialect)
        self._cursor.execute(text, bind(params or _NONE))
        return list(map(statement.make_row, self._cursor.fetchall()))

    def row(self, statement: Statement, params: Params | None = None) -> Any | None:
        """Return the first row as a named tuple, or None."""
        text, bind = statement.prepared(self._dialect)
        self._cursor.execute(text, bind(params or _NONE))
        found = self._cursor.fetchone()
        return None if found is None else statement.make_row(found)

    def core(self, statement: Executable, params: Any = None) -> CursorResult[Any]:
        """Run a SQLAlchemy Core statement as it is: for imports, reports and lists with many conditions."""
        return self._connection.execute(statement, params)


class UnitOfWork(Reader):
    """A unit's connection, clock, ids, and what it leaves to be done with the commit."""

    __slots__ = ("_hooks", "_ids", "appended", "events", "signals", "wrote")

    def __init__(
        self, dialect: str, cursor: Cursor, connection: Connection, now_ms: int, ids: IdSource
    ) -> None:
        super().__init__(dialect, cursor, connection, now_ms)
        self._ids = ids
        self._hooks: list[Callable[[], None]] = []
        self.appended: dict[Statement, list[Params]] = {}
        self.events: list[Event] = []
        self.signals: set[str] = set()
        self.wrote = False

    def new_id(self, kind: type[IdT]) -> IdT:
        """Return a new id of this type."""
        return self._ids.new(kind)

    def rows(self, statement: Statement, params: Params | None = None) -> list[Any]:
        if statement.writes:
            self.wrote = True
        return super().rows(statement, params)

    def row(self, statement: Statement, params: Params | None = None) -> Any | None:
        if statement.writes:
            # A conditional write that changes nothing has not written: it is how a unit asks for a row.
            text, bind = statement.prepared(self._dialect)
            self._cursor.execute(text, bind(params or _NONE))
            found = self._cursor.fetchone()
            if found is None:
                return None
            self.wrote = True
            return statement.make_row(found)
        return super().row(statement, params)

    def run(self, statement: Statement, params: Params) -> int:
        """Write, and return how many rows changed. A conditional update that changes none has not written."""
        text, bind = statement.prepared(self._dialect)
        self._cursor.execute(text, bind(params))
        changed = self._cursor.rowcount
        if changed:
            self.wrote = True
        return changed

    def run_many(self, statement: Statement, params: Sequence[Params]) -> None:
        """Write one statement for many parameter sets."""
        if params:
            self.wrote = True
            text, bind = statement.prepared(self._dialect)
            self._cursor.executemany(text, list(map(bind, params)))

    def append(self, statement: Statement, params: Params) -> None:
        """Insert or delete a row at the end of the batch, together with its neighbours' rows of that table.

        Only for rows that no unit of the same batch needs to read: ledger entries, log lines, task rows.
        """
        rows = self.appended.get(statement)
        if rows is None:
            rows = self.appended[statement] = []
        rows.append(params)

    def emit(self, event: Event) -> None:
        """Append an event to its stream. It gets its number at the end of the batch."""
        self.events.append(event)

    def core(self, statement: Executable, params: Any = None) -> CursorResult[Any]:
        if not getattr(statement, "is_select", False):
            self.wrote = True
        return super().core(statement, params)

    def signal(self, name: str) -> None:
        """Wake whoever listens for ``name`` once the commit is durable; many units make one wake-up."""
        self.signals.add(name)

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` on the caller's event loop once the commit is durable; never if it is not."""
        self._hooks.append(hook)

    @property
    def hooks(self) -> list[Callable[[], None]]:
        return self._hooks


Unit = Callable[[UnitOfWork], T]
Query = Callable[[Reader], T]


class Signals:
    """Wake-ups within a process: what a committed unit announced, told once per batch on the event loop.

    They carry no data and may be lost with the process; whoever listens also looks at its rows at start.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    def on(self, name: str, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every commit that signalled ``name``."""
        self._listeners.setdefault(name, []).append(listener)

    def tell(self, names: set[str]) -> None:
        """Called by the store after a commit."""
        for name in names:
            for listener in self._listeners.get(name, ()):
                listener()


class Store(Protocol):
    """One database. Adapters: SQLite, PostgreSQL; one contract suite for both."""

    dialect: str
    signals: Signals

    async def write(self, unit: Unit[T], *, lane: Lane = Lane.INTERACTIVE, locks: Sequence[str] = ()) -> T:
        """Run the unit in the next batch and return its value once the batch is durable.

        ``locks`` names what the unit decides on beyond single-row conditional updates; on PostgreSQL the
        batch takes them sorted. Raises what the unit raised, or UnavailableError ``store.unavailable``
        when the outcome is not known: the caller sends the same key again.
        """
        ...

    async def read(self, query: Query[T]) -> T:
        """Run a query on a read-only connection that sees one committed state. It never blocks the writer
        and is cut off with ``store.read_too_long`` after a bounded time."""
        ...

    async def close(self) -> None:
        """Finish what waits and close every connection."""
        ...
