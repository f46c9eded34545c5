"""SQL written once as SQLAlchemy Core, compiled once per database, run on the driver.

Why not execute Core directly everywhere: a six-row purchase costs 75 to 100 us as Core statements and 16 to
25 us as driver calls with prepared SQL. Compiling a Core construct once keeps one portable text of each
statement and pays the driver's price. Column types are limited to integers, text and bytes, so that no
result processing is needed.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import Delete, Insert, Select, Table, Update, column, insert
from sqlalchemy import table as sql_table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import CompoundSelect

CoreStatement = Select[Any] | CompoundSelect[Any] | Insert | Update | Delete

DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": cast("type[Dialect]", postgresql.psycopg.dialect)(),
}
# Either a parameter, or the place where SQLAlchemy expands the list of an IN.
_LIST = r"__\[POSTCOMPILE_(\w+?)(?:~~.*?)?\]"
_PARAMETERS = {
    "sqlite": re.compile(rf":(\w+)|{_LIST}"),
    "postgresql": re.compile(rf"%\((\w+)\)s|{_LIST}"),
}
_INSERTS: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


Bind = Callable[[Mapping[str, Any]], Any]
"""Makes a driver's parameters from named values."""


class Statement:
    """One SQL statement with named parameters, for both databases.

    Rows come back as named tuples of the selected (or returned) columns. Constants in the Core construct
    become literals of the text; everything else is a ``bindparam`` with a name.
    """

    __slots__ = ("_by_dialect", "_prepared", "make_row", "writes")

    def __init__(self, core: CoreStatement | dict[str, CoreStatement]) -> None:
        self._by_dialect = core if isinstance(core, dict) else dict.fromkeys(DIALECTS, core)
        self._prepared: dict[str, tuple[str, Bind]] = {}
        example = next(iter(self._by_dialect.values()))
        names: list[str] = []
        if isinstance(example, Select | CompoundSelect):
            self.writes = False
            names = [column.key or "" for column in example.selected_columns]
        else:
            self.writes = True
            names = [column.key or "" for column in example.exported_columns]
        row_type: Any = namedtuple("Row", names) if names else None  # columns are data here
        self.make_row: Callable[..., Any] = row_type._make if row_type else tuple

    def sql(self, dialect: str) -> str:
        """Return the text with named parameters: ``:name`` for SQLite, ``%(name)s`` for PostgreSQL."""
        return _compile(self._by_dialect[dialect], dialect)

    def prepared(self, dialect: str) -> tuple[str, Bind]:
        """Return what the driver runs, and how named values become its parameters.

        On SQLite parameters are positional: the driver looks names up one by one, which costs a third of a
        wide insert.
        """
        found = self._prepared.get(dialect)
        if found is None:
            text = self.sql(dialect)
            bind: Bind = _as_they_are
            if dialect == "sqlite":
                text, bind = _positional(self._by_dialect[dialect])
            found = self._prepared[dialect] = (text, bind)
        return found

    def __repr__(self) -> str:
        return f"Statement({next(iter(self._by_dialect.values()))})"


def insert_into(table: Table, *, without: Iterable[str] = ()) -> Statement:
    """Insert one row with a value for every column, named after the columns.

    Columns named in ``without`` are not bound, which is cheaper: they get their default or NULL.
    """
    if not without:
        return Statement(insert(table))
    names = [found.name for found in table.columns if found.name not in set(without)]
    return Statement(insert(sql_table(table.name, *map(column, names))))


def insert_new(table: Table) -> Statement:
    """Insert one row unless a unique key is taken; the row count says which."""
    return Statement({name: make(table).on_conflict_do_nothing() for name, make in _INSERTS.items()})


def upsert(
    table: Table,
    keys: list[str],
    changes: Callable[[Any], dict[str, Any]],
    *,
    returning: list[str] | None = None,
) -> Statement:
    """Insert one row, or change the row that holds the key.

    ``changes`` gets the row that could not be inserted (SQL's ``excluded``) and returns the new values.
    """

    def build(make: Callable[[Table], Any]) -> CoreStatement:
        row = make(table)
        core = row.on_conflict_do_update(index_elements=keys, set_=changes(row.excluded))
        statement: CoreStatement = (
            core.returning(*(table.c[name] for name in returning)) if returning else core
        )
        return statement

    return Statement({name: build(make) for name, make in _INSERTS.items()})


def _as_they_are(values: Mapping[str, Any]) -> Any:
    return values


def _nothing(values: Mapping[str, Any]) -> Any:
    return ()


def _positional(core: CoreStatement) -> tuple[str, Bind]:
    """Return SQLite text with ``?`` and a function from named values to a tuple in their order."""
    names: list[str] = []

    def place(name: str) -> str:
        names.append(name)
        return "?"

    text = _compile(core, "sqlite", place)
    if not names:
        return text, _nothing
    if len(names) == 1:
        (only,) = names
        return text, lambda values: (values[only],)
    return text, itemgetter(*names)


def _compile(core: CoreStatement, dialect: str, place: Callable[[str], str] | None = None) -> str:
    """Return the text with its constants in it; ``place`` writes what stands for a named parameter."""
    compiled = core.compile(dialect=DIALECTS[dialect])
    required = {name for name, bind in compiled.binds.items() if bind.required}
    constants = {
        name: _literal(name, value, dialect)
        for name, value in compiled.params.items()
        if name not in required
    }

    def write(found: re.Match[str]) -> str:
        name = found.group(1) or found.group(2)
        if name in constants:
            return constants[name]
        return found.group(0) if place is None else place(name)

    # One pass over the text, so that a literal that looks like a parameter is left alone.
    return _PARAMETERS[dialect].sub(write, str(compiled))


def _literal(name: str, value: object, dialect: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple) and value:
        return ", ".join(_literal(name, item, dialect) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"constant {name}={value!r} in a statement: only integers, text, NULL and lists")
    if isinstance(value, int):
        return str(value)
    text = "'" + value.replace("'", "''") + "'"
    return text.replace("%", "%%") if dialect == "postgresql" else text
