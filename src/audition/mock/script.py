"""What the mock server is told to do."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audition.errors import UsageError, bound, nearest
from audition.mock.faults import EXCLUSIVE, FAILURES, LIES

_DAY_MS = 86_400_000

# Bounds of the numbers: a mistyped value must be an error here and not a server that never answers.
NUMBERS: dict[str, tuple[float, float]] = {
    "ttft_ms": (0, _DAY_MS),
    "itl_ms": (0, _DAY_MS),
    "jitter": (0, 1),
    "drift": (0, 1000),
    "prefill_tps": (0.001, 10**9),
    "stall_ms": (0, _DAY_MS),
    "role_delay_ms": (0, _DAY_MS),
}
INTEGERS: dict[str, tuple[int, int]] = {
    "stall_every": (1, 100_000),
    "tokens": (0, 100_000),
    "tokens_per_chunk": (1, 100_000),
    "reasoning_tokens": (0, 100_000),
    "context": (1, 100_000_000),
    "seed": (0, 2**63 - 1),
}
EVERY = (1, 1_000_000)
"""How often a failure may come: each request, or one of so many."""
_OPTIONAL = frozenset({"prefill_tps", "stall_every", "device", "api_key"})


@dataclass(frozen=True, slots=True)
class Script:
    """Timing, failures and lies of one mock server.

    Attributes:
        ttft_ms: Delay from the request to the first token, milliseconds.
        itl_ms: Delay from token to token, milliseconds.
        jitter: Every delay is multiplied by a factor that is uniform in 1 - jitter to 1 + jitter.
        drift: Growth of every delay per minute since the server started: 0.5 is 50 % slower per minute.
        prefill_tps: Prompt tokens per second of a prefill that is added to `ttft_ms`; None: it costs nothing.
        stall_ms: Added before every `stall_every`-th token, milliseconds.
        tokens: Length of an answer that is not cut, without reasoning.
        tokens_per_chunk: Tokens in one event, which leaves when its last token is ready.
        reasoning_tokens: Tokens sent first, as `reasoning_content`.
        keepalive: A comment `: ping` at one and at two thirds of the wait for the first token.
        role_delay_ms: When the event with the role comes; never later than the first token.
        context: Tokens of context.
        device: Said by `/v1/models` and in every answer; None: not said.
        seed: Of the jitter.
        api_key: What requests must bring as bearer token; None: nothing.
        failures: Kind to N: every N-th chat request fails so. Where several fall together, the first one in
            `FAILURES` happens.
        lies: Names in `LIES`.

    Raises:
        UsageError: A value is out of its bounds, a name is unknown, or two values do not go together.
    """

    ttft_ms: float = 50.0
    itl_ms: float = 10.0
    jitter: float = 0.0
    drift: float = 0.0
    prefill_tps: float | None = None
    stall_ms: float = 0.0
    stall_every: int | None = None
    tokens: int = 64
    tokens_per_chunk: int = 1
    reasoning_tokens: int = 0
    keepalive: bool = False
    role_delay_ms: float = 0.0
    context: int = 4096
    model: str = "mock"
    device: str | None = None
    seed: int = 0
    api_key: str | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    lies: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, bounds in NUMBERS.items():
            _check_number(name, getattr(self, name), bounds, whole=False)
        for name, limits in INTEGERS.items():
            _check_number(name, getattr(self, name), limits, whole=True)
        for name in ("model", "device", "api_key"):
            _check_text(name, getattr(self, name))
        if not isinstance(self.keepalive, bool):
            raise UsageError(f"keepalive must be true or false, not {_shown(self.keepalive)}")
        for kind, every in self.failures.items():
            _check_name("failure", kind, FAILURES)
            _check_number(f"failures: {kind}", every, EVERY, whole=True)
        for lie in self.lies:
            _check_name("lie", lie, LIES)
        self._check_together()

    def _check_together(self) -> None:
        for group in EXCLUSIVE:
            told = sorted(group & self.lies)
            if len(told) > 1:
                raise UsageError(f"the lies {' and '.join(told)} cannot be told together", fix="leave all but one out")
        if "prompt_cache" in self.lies and self.prefill_tps is None:
            raise UsageError(
                "the lie prompt_cache cannot show without a prefill", fix="set prefill_tps (--prefill-tps) as well"
            )
        if bool(self.stall_ms) != (self.stall_every is not None):
            raise UsageError(
                "a stall needs how long it takes and every how many tokens it comes",
                fix="set both, stall_ms (--stall) and stall_every (--stall-every)",
            )

    def failure_of(self, number: int) -> str | None:
        """Return the failure of the `number`-th chat request, counted from 1."""
        return next((kind for kind in FAILURES if kind in self.failures and number % self.failures[kind] == 0), None)

    def to_json(self) -> str:
        """Return the script as one line of JSON, for `from_json`."""
        data = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return json.dumps(data | {"failures": dict(self.failures), "lies": sorted(self.lies)})

    @classmethod
    def from_json(cls, text: str, name: str = "the script") -> Script:
        """Read a script; keys that are left out keep their defaults.

        Args:
            text: The JSON.
            name: What errors call the text.

        Raises:
            UsageError: It is no JSON object, a key is unknown, or a value is wrong.
        """
        from audition.jsonfile import parse_json

        return cls.from_mapping(parse_json(text, name), name)

    @classmethod
    def from_mapping(cls, data: Any, name: str = "the script") -> Script:
        """Make a script of parsed JSON; see `from_json`."""
        if not isinstance(data, dict):
            raise UsageError(f"{name} must be a JSON object")
        known = [item.name for item in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                raise UsageError(
                    f'{name}: unknown key "{key}"', fix=nearest(key, known) or "known keys: " + ", ".join(known)
                )
        failures, lies = data.get("failures", {}), data.get("lies", [])
        if not isinstance(failures, dict):
            raise UsageError(f'{name}: failures must be an object such as {{"cut": 5}}')
        if not isinstance(lies, list) or not all(isinstance(lie, str) for lie in lies):
            raise UsageError(f"{name}: lies must be a list of names")
        return cls(**{**data, "lies": frozenset(lies)})


def _check_number(name: str, value: Any, bounds: tuple[float, float], *, whole: bool) -> None:
    if value is None and name in _OPTIONAL:
        return
    low, high = bounds
    kinds = int if whole else (int, float)
    # The upper bound comes first: an integer of a thousand digits cannot be made a float.
    fits = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high and math.isfinite(value)
    if not fits:
        what = "a whole number" if whole else "a number"
        raise UsageError(f"{name} must be {what} from {bound(low)} to {bound(high)}, not {_shown(value)}")


def _check_text(name: str, value: Any) -> None:
    if value is None and name in _OPTIONAL:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
        raise UsageError(f"{name} must be a text of 1 to 200 printable characters, not {_shown(value)}")


def _check_name(what: str, name: str, known: Mapping[str, str]) -> None:
    if name not in known:
        raise UsageError(
            f'there is no {what} called "{name}"', fix=nearest(name, list(known)) or "audition mock --list shows all"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
