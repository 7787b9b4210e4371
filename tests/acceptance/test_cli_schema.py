"""`finality schema` and `finality asyncapi`, as a pipeline runs them; what they find is proved elsewhere."""

from __future__ import annotations

import pytest

from tests.acceptance.command_line import Terminal, assert_no_traceback

pytestmark = pytest.mark.slow

SHOP = """
from dataclasses import dataclass

import finality


@dataclass(frozen=True)
class Placed:
    order: str{more}


@finality.react("orders", by="stock")
def reserve(tx: finality.SyncTx, placed: Placed) -> None: ...
"""


def test_a_change_that_breaks_somebody_stops_the_pipeline(terminal: Terminal) -> None:
    terminal.write("shop.py", SHOP.format(more=""))
    assert terminal.type("schema", "check", "schemas", "shop").out == (
        "orders/Placed is new and not in schemas/orders/Placed.json; "
        "run `finality schema write` and commit the file\n"
    )
    assert terminal.type("schema", "write", "schemas", "shop").status == 0
    assert terminal.type("schema", "check", "schemas", "shop").status == 0

    terminal.write("shop.py", SHOP.format(more="\n    price: int"))
    checked = terminal.type("schema", "check", "schemas", "shop.py")
    refused = terminal.type("schema", "write", "schemas", "shop.py")
    forced = terminal.type("schema", "write", "schemas", "shop.py", "--compatibility", "none")

    assert (checked.status, refused.status, forced.status) == (1, 1, 0)
    assert "orders/Placed: this version cannot read older events: 'price' is required" in checked.out
    assert "nothing was written" in refused.err
    document = terminal.type("asyncapi", "shop").json
    assert document["components"]["schemas"]["Placed"]["required"] == ["order", "price"]


def test_a_module_that_is_not_there_is_named(terminal: Terminal) -> None:
    for module, said in (("nothing.py", "no such file"), ("nothing", "cannot be imported")):
        told = terminal.type("asyncapi", module)
        assert told.status == 1
        assert said in told.err
        assert_no_traceback(told)
