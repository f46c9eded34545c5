from __future__ import annotations

import pytest
from sqlalchemy import bindparam, select, update

from gateway.kernel.store.statements import Statement, insert_into, insert_new, upsert
from tests.kernel.tables import counter, note


def one_line(text):
    return " ".join(text.split())


def test_named_parameters_stay_and_constants_become_literals():
    statement = Statement(
        select(note.c.name).where(note.c.body == "it's", note.c.name == bindparam("name")).limit(5)
    )
    assert "note.body = 'it''s' AND note.name = :name LIMIT 5" in one_line(statement.sql("sqlite"))
    assert "note.body = 'it''s'::VARCHAR AND note.name = %(name)s" in one_line(statement.sql("postgresql"))


def test_null_and_lists_are_literals_too():
    statement = Statement(update(note).where(note.c.name.in_(["a", "b'c"])).values(body=None))
    assert "SET body=NULL WHERE note.name IN ('a', 'b''c')" in one_line(statement.sql("sqlite"))
    assert "IN ('a', 'b''c')" in one_line(statement.sql("postgresql"))


def test_a_literal_that_looks_like_a_parameter_is_left_alone():
    statement = Statement(select(note.c.name).where(note.c.body == ":name", note.c.name == bindparam("name")))
    assert "note.body = ':name' AND note.name = :name" in one_line(statement.sql("sqlite"))


def test_percent_signs_are_doubled_for_psycopg_only():
    statement = Statement(select(note.c.name).where(note.c.body.like("50%")))
    assert "'50%'" in statement.sql("sqlite")
    assert "'50%%'" in statement.sql("postgresql")


@pytest.mark.parametrize("value", [[], [1.5]])
def test_other_constants_are_refused(value):
    statement = Statement(select(counter.c.name).where(counter.c.value.in_(value)))
    with pytest.raises(TypeError):
        statement.sql("sqlite")


async def test_statements_do_the_same_on_both_databases(database):
    store = database.open(rehearse=True)
    put = upsert(counter, ["name"], lambda new: {"value": counter.c.value + new.value}, returning=["value"])
    new, odd = insert_new(counter), {"name": "it's 100% :odd %s", "value": 2**62}
    literal = Statement(select(counter.c.value).where(counter.c.name == odd["name"]))

    def unit(uow):
        first = uow.row(put, {"name": "a", "value": 2}).value
        again = uow.row(put, {"name": "a", "value": 3}).value
        uow.run(insert_into(counter), odd)
        return first, again, uow.run(new, {"name": "a", "value": 9}), uow.row(literal).value

    assert await store.write(unit) == (2, 5, 0, 2**62)


def test_sqlite_gets_positional_values_in_the_order_of_the_text():
    statement = Statement(
        update(note)
        .where(note.c.name == bindparam("its_name"), note.c.body != bindparam("text"))
        .values(body=bindparam("text"), name="it's :text")
    )
    text, bind = statement.prepared("sqlite")
    assert "name='it''s :text'" in one_line(text) and text.count("?") == 3
    assert sorted(bind({"text": "T", "its_name": "N", "unused": 0})) == ["N", "T", "T"]
    with pytest.raises(KeyError):
        bind({"text": "T"})


def test_statements_with_one_and_without_parameters_bind_tuples():
    one, bind_one = Statement(select(note.c.name).where(note.c.name == bindparam("name"))).prepared("sqlite")
    assert one.count("?") == 1 and bind_one({"name": "N"}) == ("N",)
    _, bind_none = Statement(select(note.c.name)).prepared("sqlite")
    assert bind_none({}) == ()


def test_postgresql_keeps_names():
    _, bind = Statement(select(note.c.name).where(note.c.name == bindparam("name"))).prepared("postgresql")
    assert bind({"name": "N"}) == {"name": "N"}
