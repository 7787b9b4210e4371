"""The protocol between a coordinator and a service: its paths, its fields and its refusals.

```
    PUT   /v1/branches/{branch}           try         {"reservation", "input", "decided_by"}
    POST  /v1/branches/{branch}/commit    confirm
    POST  /v1/branches/{branch}/abort     cancel
    GET   /v1/branches/{branch}           status
    GET   /v1/branches?participant=NAME   what waits for a decision
    GET   /v1                             what the service is

    POST  /v1/branches/{branch}/vote        three-phase commit: {"line"}
    POST  /v1/branches/{branch}/pre-commit  {"term", "by"}
    POST  /v1/branches/{branch}/standing    {"term", "by"}
    POST  /v1/branches/{branch}/conclude    {"did"}
```

Source: docs/reference/http-participant.md; RFC 9457, Problem Details for HTTP APIs.
"""

from __future__ import annotations

from enum import Enum
from typing import Any
from urllib.parse import quote

PROTOCOL = "finality-participant"
VERSION = 1
ROOT = f"/v{VERSION}"
BRANCHES = f"{ROOT}/branches"
COMMIT, ABORT = "commit", "abort"
VOTE, PRE_COMMIT, STANDING, CONCLUDE = "vote", "pre-commit", "standing", "conclude"

JSON, PROBLEM = "application/json", "application/problem+json"
PROBLEM_TYPE = "urn:finality:problem:"

REQUEST_BYTES_MAX = 1 << 18  # 256 KiB: what is reserved, not a file.
RESPONSE_BYTES_MAX = 1 << 22  # 4 MiB: a full page of what waits.
LISTED_MAX = 1_000  # Branches in one answer; the sweep comes again when these are finished.


class Problem(Enum):
    """Why a service does not do what it is asked, with the status that it answers."""

    REFUSED = ("refused", 409)
    CONFLICT = ("conflict", 409)
    BAD_REQUEST = ("bad_request", 400)
    BAD_INPUT = ("bad_input", 422)
    INPUT_MISMATCH = ("input_mismatch", 422)
    UNKNOWN_RESERVATION = ("unknown_reservation", 422)
    UNAUTHENTICATED = ("unauthenticated", 401)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    TOO_LARGE = ("too_large", 413)
    TRY_FAILED = ("try_failed", 500)
    TOO_SLOW = ("too_slow", 408)
    METHOD_FAILED = ("method_failed", 503)
    UNAVAILABLE = ("unavailable", 503)
    UNKNOWN = ("unknown", 504)

    @property
    def code(self) -> str:
        """Return its name, which is stable."""
        return str(self.value[0])

    @property
    def status(self) -> int:
        """Return the status of the answer."""
        return int(self.value[1])

    def document(self, detail: str) -> dict[str, Any]:
        """Return the problem as RFC 9457 says it."""
        title = self.code.replace("_", " ")
        return {
            "type": PROBLEM_TYPE + self.code,
            "title": title,
            "status": self.status,
            "detail": detail,
            "code": self.code,
        }


BY_CODE = {problem.code: problem for problem in Problem}
NOTHING_HELD = frozenset(
    {
        Problem.REFUSED,
        Problem.CONFLICT,
        Problem.BAD_REQUEST,
        Problem.BAD_INPUT,
        Problem.INPUT_MISMATCH,
        Problem.UNKNOWN_RESERVATION,
        Problem.UNAUTHENTICATED,
        Problem.NOT_FOUND,
        Problem.METHOD_NOT_ALLOWED,
        Problem.TOO_LARGE,
        Problem.TRY_FAILED,
    }
)
"""After these a try has held nothing, unless it was sent before and its answer was lost."""


def path_of(branch: str, what: str = "") -> str:
    """Return the path of a branch, percent-encoded."""
    path = f"{BRANCHES}/{quote(branch, safe=':')}"
    return f"{path}/{what}" if what else path
