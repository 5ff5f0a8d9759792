"""Any OpenAI-compatible server over HTTP, timed by when its bytes reached this machine.

The bytes are stamped first and read later: while a stream runs, nothing is done but to take its bytes off the socket
and undo HTTP's framing. Events and JSON are read in the function that `EndpointSession.ask` returns.
"""

from __future__ import annotations

from audition.engines.endpoint.address import normalised
from audition.engines.endpoint.session import EndpointSession

__all__ = ["EndpointSession", "normalised"]
