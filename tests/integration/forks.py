"""Processes of a test that cost next to nothing to start: children of one that has imported everything.

```python
child = PROCESSES.Process(target=live, args=(told,))
```
"""

from __future__ import annotations

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")

# There is one such server in a test run, and it imports these when it is first asked for a child.
PROCESSES.set_forkserver_preload(
    [
        "pytest",  # The main module of a child is the test run's.
        *(f"finality.cli.{name}" for name in ("command_line", "doctor", "journal", "node", "transaction")),
        *(f"finality.cli.{name}" for name in ("aggregate", "event", "outbox", "projection", "run.command")),
        "tests.acceptance.command_line",
        "tests.conformance.brokers.consumer",
        "tests.integration.atomicity.bank",
        "tests.integration.events.log_parts",
        *(f"finality.adapters.{name}.broker" for name in ("kafka", "nats", "rabbitmq", "redis", "sqlite")),
        *(f"finality.adapters.{name}.store" for name in ("postgres", "sqlite")),
    ]
)
