"""Scripts that use a node, and how they end: forgetful, hanging, interrupted, forked."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.integration.kit import eventually
from tests.integration.processes import Script, process

pytestmark = pytest.mark.slow

SCRIPT = """
    @dataclass(frozen=True)
    class Hello(finality.Saga):
        how: str = ""

        @finality.step
        def said(self, tx: finality.SyncTx) -> str:
            return "hello"

        @finality.step
        def blocked(self, said: str) -> str:
            if self.how == "hangs":
                mark("hanging")
                threading.Event().wait()
            return said
"""


def test_a_script_that_forgets_to_close_ends(tmp_path: Path) -> None:
    code = (
        SCRIPT
        + """
    node = finality.open(URL)
    print(node.start(Hello()).result(timeout=20))
"""
    )
    with process(tmp_path, code, kind=Script) as script:
        assert script.end() == (0, "hello\n", "")


def test_a_script_whose_step_hangs_ends_all_the_same(tmp_path: Path) -> None:
    code = (
        SCRIPT
        + """
    node = finality.open(URL)
    node.start(Hello("hangs"))
    wait_for("hanging")
    node.close(drain_seconds=0.1)
    node.close()
    print("closed")
"""
    )
    with process(tmp_path, code, kind=Script) as script:
        assert script.end() == (0, "closed\n", "")


def test_a_step_that_holds_the_store_for_ever_keeps_no_process_alive(tmp_path: Path) -> None:
    code = """
    @dataclass(frozen=True)
    class Hog(finality.Saga):
        @finality.step
        def held(self, tx: finality.SyncTx) -> str:
            mark("held")
            threading.Event().wait()
            return ""

    import logging
    from finality.node import insides
    insides.LET_GO_SECONDS = 0.2
    logging.disable()
    node = finality.open(URL)
    node._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(node.asynchronous.start(Hog())))
    wait_for("held")
    node.close(drain_seconds=0.1)
    print("closed")
"""
    with process(tmp_path, code, kind=Script) as script:
        assert script.end() == (0, "closed\n", "")


def test_ctrl_c_ends_a_script_that_waits(tmp_path: Path) -> None:
    async def main() -> None:
        code = (
            SCRIPT
            + """
    with finality.open(URL) as node:
        try:
            handle = node.start(Hello("hangs"), id="h")
            handle.outcome()
        except KeyboardInterrupt:
            node.close(drain_seconds=0.1)
            print("interrupted")
"""
        )
        with process(tmp_path, code, kind=Script) as script:
            await eventually(lambda: script.marked("hanging"))
            script.send(signal.SIGINT)

            assert await asyncio.to_thread(script.end) == (0, "interrupted\n", "")

    asyncio.run(main())


def test_ctrl_c_inside_a_transaction_block_leaves_nothing_of_it(tmp_path: Path) -> None:
    code = """
    node = finality.open(URL)
    node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"))
    try:
        with node.transaction() as tx:
            tx.execute("INSERT INTO effect VALUES ('half')")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
    except KeyboardInterrupt:
        print(node.query("SELECT * FROM effect"))
    with node.transaction() as tx:
        tx.execute("INSERT INTO effect VALUES ('whole')")
    print(node.query("SELECT * FROM effect"))
    node.close()
"""
    with process(tmp_path, code, kind=Script) as script:
        assert script.end() == (0, "[]\n[('whole',)]\n", "")


def test_a_forked_child_hears_that_it_needs_a_node_of_its_own(tmp_path: Path) -> None:
    code = (
        SCRIPT
        + """
    node = finality.open(URL)
    node.start(Hello(), id="h").result()
    child = os.fork()
    if child == 0:
        try:
            node.start(Hello())
        except finality.Unavailable as error:
            print(str(error)[:52], flush=True)
        node.close()
        with finality.open(URL) as own:
            print(own.outcome("h", timeout=20).result, flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(status, node.outcome("h").result)
    node.close()
"""
    )
    with process(tmp_path, code, kind=Script) as script:
        expected = "the node was opened before this process was forked, \nhello\n0 hello\n"

        assert script.end() == (0, expected, "")
