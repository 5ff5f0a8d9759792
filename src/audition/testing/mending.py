"""From what an adapter's process said when it failed, what its author has to mend."""

from __future__ import annotations

import re

from audition.engines.protocol import EngineDied, EngineError

HALF_CHARACTER = (
    "the text has half a character (a lone surrogate): decode with an incremental UTF-8 decoder, and keep the bytes of "
    "an unfinished character back"
)


def mend(error: EngineError | EngineDied, check: str) -> str:
    """Return what to mend where the process ended, or could not even be started or loaded."""
    message = error.message
    if error.code == "engine_hung" and check == "load":
        return f"{message}: load has to return once the model can answer"
    if error.code == "engine_hung":
        return f"{message}: yield pieces, so that it can be stopped between two of them, and let generate end"
    if error.code == "engine_crashed":
        return f"{message}: the log shows where"
    if "__init__() missing" in message:
        return f"{message}: it is made without arguments; take what you need in load"
    if check == "load" and re.search(r"load\(\) (takes|missing|got)", message):
        return f"load cannot be called with a path alone: define load(self, weights_path) ({message})"
    return message


def mend_answer(message: str) -> str:
    """Return what to mend where a request failed."""
    wrong = re.search(r"(generate|chat) must give str, not (\w+)", message)
    if wrong is None:
        return message
    method, kind = wrong.groups()
    if kind == "bytes":
        return f"{method} gave bytes: give str; decode with utf-8, and keep the bytes of an unfinished character back"
    if kind == "NoneType":
        return f"{method} gave None: return the text, or yield its pieces"
    return f"{method} gave {kind}: return str, or yield str"
