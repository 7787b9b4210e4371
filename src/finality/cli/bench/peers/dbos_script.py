"""The three-step saga as a DBOS workflow: a script for a Python that has DBOS, and nothing of ours.

``python dbos_script.py URL CONCURRENCY SECONDS`` prints what it measured as JSON: the latencies in
seconds, how long it took and its processor time. Its start is not measured.
"""

import json
import sys
import threading
import time
from collections.abc import Callable

WARM = 5
POOL_MIN = 5


def workflow(url: str, concurrency: int) -> Callable[[int], int]:
    """Launch DBOS with a connection for each client; return the workflow."""
    from dbos import DBOS

    DBOS(
        config={
            "name": "finality-peer",
            "system_database_url": url,
            "sys_db_pool_size": max(concurrency, POOL_MIN),
            "max_executor_threads": max(concurrency, POOL_MIN),
            "log_level": "ERROR",
        }
    )

    def first(number: int) -> int:
        return number

    def second(number: int) -> int:
        return number + 1

    steps = [DBOS.step(name=name)(function) for name, function in (("first", first), ("second", second))]
    third = DBOS.step(name="third")(second)

    def three_steps(number: int) -> int:
        for step in steps:
            number = step(number)
        return int(third(number))

    three_steps_workflow: Callable[[int], int] = DBOS.workflow(name="three_steps")(three_steps)
    DBOS.launch()
    return three_steps_workflow


def main(url: str, concurrency: int, seconds: float) -> None:
    """Keep so many workflows in flight for so long, each thread waiting for its own."""
    run = workflow(url, concurrency)
    for _ in range(WARM):
        run(1)
    latencies: list[float] = []
    clock = time.perf_counter
    stop = clock() + seconds

    def client() -> None:
        while (begun := clock()) < stop:
            answer = run(1)
            assert answer == 3, f"a workflow answered {answer}"
            latencies.append(clock() - begun)

    begun, cpu = clock(), time.process_time()
    threads = [threading.Thread(target=client) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {
                "latencies": latencies,
                "seconds": clock() - begun,
                "cpu": time.process_time() - cpu,
                "ended": len(latencies) + WARM,
            }
        )
    )
    from dbos import DBOS

    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
