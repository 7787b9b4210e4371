"""A projection as users write it: a function that keeps tables up to what has happened.

```
    @finality.project(
        into="balances",
        create="CREATE TABLE {balances} (account TEXT PRIMARY KEY, amount BIGINT NOT NULL)",
    )
    def balances(tx: finality.SyncTx, moved: Deposited | Withdrawn, where: finality.Happened) -> None:
        tx.execute("UPDATE {balances} SET amount = amount + ? WHERE account = ?", moved.amount, where.id)
```

The annotations say which events of aggregates it takes. ``{balances}`` stands for the table's name: that
is ``balances``, and another one while the table is built anew beside the one that serves.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar

from finality.core.errors import DefinitionError
from finality.patterns.definition import check_tx
from finality.patterns.event import event_type
from finality.patterns.part import Method
from finality.patterns.signature import TX, hints_of, local_names, parts_of, signature_of
from finality.patterns.transaction import SyncTx, Tx
from finality.ports.codec import Codec
from finality.ports.store import LocalTransaction, Rows, Scope
from finality.runtime.projection import Happened, ProjectionCode
from finality.runtime.projections import named
from finality.runtime.sourcing.kind import EventType

P = ParamSpec("P")
R = TypeVar("R")

TABLE = re.compile(r"[a-z][a-z0-9_]{0,47}")  # With what is put behind it, PostgreSQL takes 63 characters.
KEPT_STATEMENTS_MAX = 500


class Projection(Generic[P, R]):
    """A function that projects events; call it as what it is.

    Attributes:
        code: What a node runs.
    """

    def __init__(self, function: Callable[P, R], code: ProjectionCode) -> None:
        self.function = function
        self.code = code
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    def __call__(self, *arguments: P.args, **keywords: P.kwargs) -> R:
        """Call the function, as a unit test does."""
        return self.function(*arguments, **keywords)

    def __repr__(self) -> str:
        return f"<projection {self.__name__} into {', '.join(self.code.tables)}>"


class DeclareProjection(Protocol):
    """Turns a function into a projection."""

    def __call__(self, function: Callable[P, R], /) -> Projection[P, R]:
        """Return the projection that runs *function*."""
        ...


def project(
    *, into: str | Iterable[str], create: str | Iterable[str] = (), at: str | None = None, depth: int = 1
) -> DeclareProjection:
    """Declare a projection: ``(tx, event: A | B) -> None``, or ``(tx, events: list[A | B]) -> None``.

    A third parameter, annotated ``finality.Happened``, gets the aggregate's id, the version, the position,
    the time and the metadata; ``list[finality.Happened]`` beside a list. It gets every such event once, in
    the order of the journal, from the first one ever.

    Args:
        into: The table that it writes, or several; the first one names the projection.
        create: The statements that make them, with ``{table}`` for each name, also in those of indexes.
            Without any the tables are made by you, and cannot be rebuilt.
        at: The store that they are in; by default the node's own.
        depth: How far up the function stands whose local names the annotations may use.

    Raises:
        DefinitionError: The declaration cannot keep its promise.
    """
    tables = (into,) if isinstance(into, str) else tuple(into)
    statements = (create,) if isinstance(create, str) else tuple(create)
    _check_tables(tables, statements)
    frame = sys._getframe(depth)
    local = {} if frame.f_locals is frame.f_globals else frame.f_locals

    def declare(function: Callable[P, R], /) -> Projection[P, R]:
        who = f"projection {getattr(function, '__name__', function)!r}"
        signature = signature_of(function, who, is_method=False)
        hints = hints_of(function, function.__annotations__, local_names(function, local), who)
        takes_context = _check_parameters(signature.names, hints, who)
        check_tx(Method(function, signature, who), hints.get(TX))
        is_batch, types = taken_events(hints[signature.names[1]])
        if takes_context and hints[signature.names[2]] != (list[Happened] if is_batch else Happened):
            wanted = "list[finality.Happened]" if is_batch else "finality.Happened"
            raise DefinitionError(f"{who} takes {signature.names[2]!r} third: annotate it {wanted}")
        if hints.get("return", type(None)) not in (None, type(None)):
            raise DefinitionError(f"{who} returns something: nobody would get it; write -> None")
        code = ProjectionCode(
            tables[0], tables, function, signature.style, types, statements, is_batch, takes_context, at
        )
        return Projection(function, code)

    return declare


def taken_events(hint: Any) -> tuple[bool, dict[str, EventType]]:
    """Return whether an annotation stands for lists, and which events it names."""
    is_batch = typing.get_origin(hint) is list
    types = [event_type(cls) for cls in parts_of(typing.get_args(hint)[0] if is_batch else hint)]
    return is_batch, {each.name: each for each in types}


def _check_tables(tables: tuple[str, ...], create: tuple[str, ...]) -> None:
    if not tables or any(not TABLE.fullmatch(table) for table in tables):
        raise DefinitionError(
            f"a projection cannot write into {', '.join(tables) or 'nothing'}: name tables, each by a small "
            "letter and then letters, digits and _, 48 at most"
        )
    for table in tables:
        if create and not any(f"{{{table}}}" in statement for statement in create):
            raise DefinitionError(
                f"nothing makes table {table!r} of the projection: write CREATE TABLE {{{table}}} (…) in "
                "create="
            )


def _check_parameters(names: tuple[str, ...], hints: dict[str, Any], who: str) -> bool:
    """Return whether it takes where the events happened."""
    if not names or names[0] != TX or len(names) not in (2, 3):
        raise DefinitionError(
            f"{who} takes ({', '.join(names)}): a projection takes tx, an event, and if it wants to, where "
            "that happened: (tx, event: YourEvent, where: finality.Happened)"
        )
    for name in names[1:]:
        if name not in hints:
            raise DefinitionError(f"{who} does not say what {name!r} is: its annotation names the events")
    return len(names) == 3


class TableNames:
    """What the tables of a projection are called now, in statements that name them by placeholders."""

    def __init__(self, code: ProjectionCode, names: dict[str, str]) -> None:
        self.name = code.name
        self._names = names
        self._bare = re.compile(rf"(?<![{{\w])({'|'.join(code.tables)})(?![}}\w])") if code.create else None
        self._known: dict[str, str] = {}

    def sql(self, sql: str) -> str:
        """Return a statement as it can be run.

        Raises:
            DefinitionError: It names a table without a placeholder: it would write the one that serves.
        """
        known = self._known.get(sql)
        if known is not None:
            return known
        if self._bare is not None and (found := self._bare.search(sql)):
            raise DefinitionError(
                f"projection {self.name!r} names its table {found[0]!r}, and while it is rebuilt the table "
                f"has another name: write {{{found[0]}}}, in braces"
            )
        if len(self._known) >= KEPT_STATEMENTS_MAX:
            self._known.clear()
        made = self._known[sql] = named(sql, self._names)
        return made

    def refuse(self, what: str) -> NoReturn:
        """Refuse what a rebuild must not do again."""
        raise DefinitionError(
            f"projection {self.name!r} calls tx.{what}, and would do so again whenever it is rebuilt; let it "
            "write its tables only, with tx.execute, and do the rest in a reaction"
        )


class ProjectionSyncTx(SyncTx):
    """The ``tx`` of a projection that is a plain function: it writes its tables, and nothing else."""

    def __init__(self, local: LocalTransaction, codec: Codec, names: TableNames) -> None:
        super().__init__(local, codec)
        self._names = names

    def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement, with the tables' names of now for ``{table}``."""
        return self._local.execute(self._names.sql(sql), parameters)

    def publish(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to publish."""
        self._names.refuse("publish")

    def request(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to ask."""
        self._names.refuse("request")

    def append(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to append."""
        self._names.refuse("append")

    def lock(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to lock."""
        self._names.refuse("lock")

    def add(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to write but by ``execute``."""
        self._names.refuse("add")

    def version_file(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to write but by ``execute``."""
        self._names.refuse("version_file")


class ProjectionTx(Tx):
    """The ``tx`` of an ``async`` projection: it writes its tables, and nothing else."""

    def __init__(self, scope: Scope, codec: Codec, names: TableNames) -> None:
        super().__init__(scope, codec)
        self._names = names

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement, with the tables' names of now for ``{table}``."""
        return await super().execute(self._names.sql(sql), *parameters)

    async def publish(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to publish."""
        self._names.refuse("publish")

    async def request(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to ask."""
        self._names.refuse("request")

    async def append(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to append."""
        self._names.refuse("append")

    async def lock(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to lock."""
        self._names.refuse("lock")

    async def add(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to write but by ``execute``."""
        self._names.refuse("add")

    def version_file(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to write but by ``execute``."""
        self._names.refuse("version_file")
