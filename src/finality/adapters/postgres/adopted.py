"""A foreign outbox table in a PostgreSQL store."""

from __future__ import annotations

from finality.adapters.adopted import TRIGGER, check_columns, quoted
from finality.adapters.postgres.session import ERRORS, Server, unavailable

COLUMN_TYPES = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""
# It writes our table in the rights of whoever adopts, so that the application needs none on it.
ADOPT = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $body$
BEGIN
    INSERT INTO finality_outbox (id, aggregatetype, aggregateid, type, payload)
    VALUES (
        NEW.id::text, coalesce(NEW.aggregatetype, ''), coalesce(NEW.aggregateid::text, ''),
        coalesce(NEW.type, ''), coalesce({payload}, '')
    );
    RETURN NULL;
END $body$;
DROP TRIGGER IF EXISTS {trigger} ON {table};
CREATE TRIGGER {trigger} AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();
"""
RELEASE = "DROP TRIGGER IF EXISTS {trigger} ON {table}; DROP FUNCTION IF EXISTS {function}();"


async def adopt(url: str, table: str, *, is_undone: bool = False) -> None:
    """Let a trigger copy what is inserted into *table* into our outbox, or take it away.

    Raises:
        NotFound: There is no such table.
        DefinitionError: It is no outbox.
        Unavailable: The server is out of reach, or lets nobody change the table.
    """
    connection = await Server(url, "store", lock_seconds=10.0, kind="store").connect()
    try:
        types = dict(await connection.fetch(COLUMN_TYPES, quoted(table)))
        check_columns(table, types)
        is_binary = types["payload"] == "bytea"
        schema = await connection.fetchval("SELECT quote_ident(current_schema())")
        sql = (RELEASE if is_undone else ADOPT).format(
            table=quoted(table),
            trigger=quoted(TRIGGER + table),
            function=quoted(TRIGGER + table),
            schema=schema,
            payload="NEW.payload" if is_binary else "convert_to(NEW.payload::text, 'UTF8')",
        )
        await connection.execute(sql)
    except ERRORS as error:
        raise unavailable("store", error, "store") from error
    finally:
        await connection.close()
