"""For authors of adapters: is it one, and will what is measured with it hold?

```python
from audition.testing import assert_conforms

def test_my_engine():
    assert_conforms("my_engine:MyEngine", weights="model.gguf")
```

`python -m audition.testing my_engine:MyEngine --weights model.gguf` says the same in a terminal.
"""

from audition.testing.conformance import Conformance, Finding, Level, assert_conforms, check_adapter

__all__ = ["Conformance", "Finding", "Level", "assert_conforms", "check_adapter"]
