"""Tables that only the kernel's tests use."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, func, select, update

from gateway.kernel.store.statements import Statement, insert_into, insert_new

metadata = MetaData()

note = Table("note", metadata, Column("name", Text, primary_key=True), Column("body", Text))
counter = Table(
    "counter", metadata, Column("name", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)
effect = Table("effect", metadata, Column("subject", Text, nullable=False), Column("by", Text))

INSERT_NOTE = insert_into(note)
INSERT_NEW_NOTE = insert_new(note)
COUNT_NOTES = Statement(select(func.count().label("notes")).select_from(note))
NOTES = Statement(select(note.c.name).order_by(note.c.name))
GET_NOTE = Statement(select(note.c.name, note.c.body).where(note.c.name == bindparam("name")))
INSERT_COUNTER = insert_into(counter)
ADD = Statement(
    update(counter)
    .where(counter.c.name == bindparam("its_name"))
    .values(value=counter.c.value + bindparam("step"))
)
GET_COUNTER = Statement(select(counter.c.value).where(counter.c.name == bindparam("name")))
SUM_COUNTERS = Statement(select(func.sum(counter.c.value).label("total")))
INSERT_EFFECT = insert_into(effect)
EFFECTS = Statement(select(effect.c.subject, effect.c.by).order_by(effect.c.subject))


def write_note(name, body=None):
    """Return a unit that inserts a note."""

    def unit(uow):
        uow.run(INSERT_NOTE, {"name": name, "body": body})
        return name

    return unit


def names(reader):
    """A query: the names of all notes."""
    return [row.name for row in reader.rows(NOTES)]
