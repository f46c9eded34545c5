"""SQL written once as SQLAlchemy Core, compiled once per database, run on the driver.

Why not execute Core directly everywhere: a six-row purchase costs 75 to 100 us as Core statements and 16 to
25 us as driver calls with prepared SQL. Compiling a Core construct once keeps one portable text of each
statement and pays the driver's price. Column types are limited to integers, text and bytes, so that no
result processing is needed.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Delete, Insert, Select, Table, Update, insert
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


class Statement:
    """One SQL statement with named parameters, for both databases.

    Rows come back as named tuples of the selected (or returned) columns. Constants in the Core construct
    become literals of the text; everything else is a ``bindparam`` with a name.
    """

    __slots__ = ("_by_dialect", "_sql", "make_row", "writes")

    def __init__(self, core: CoreStatement | dict[str, CoreStatement]) -> None:
        self._by_dialect = core if isinstance(core, dict) else dict.fromkeys(DIALECTS, core)
        self._sql: dict[str, str] = {}
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
        """Return the text for ``sqlite`` (``:name``) or ``postgresql`` (``%(name)s``)."""
        text = self._sql.get(dialect)
        if text is None:
            text = self._sql[dialect] = _compile(self._by_dialect[dialect], dialect)
        return text

    def __repr__(self) -> str:
        return f"Statement({next(iter(self._by_dialect.values()))})"


def insert_into(table: Table) -> Statement:
    """Insert one row with a value for every column, named after the columns."""
    return Statement(insert(table))


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


def _compile(core: CoreStatement, dialect: str) -> str:
    compiled = core.compile(dialect=DIALECTS[dialect])
    required = {name for name, bind in compiled.binds.items() if bind.required}
    constants = {
        name: _literal(name, value, dialect)
        for name, value in compiled.params.items()
        if name not in required
    }
    # One pass over the text, so that a literal that looks like a parameter is left alone.
    return _PARAMETERS[dialect].sub(
        lambda found: constants.get(found.group(1) or found.group(2), found.group(0)), str(compiled)
    )


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
