"""The library: what the command line does, as functions.

```python
from audition import api

run = api.prepare(["smollm2-135m", "gemma-3-270m"], api.load_suite("prompts.json"))
api.resume(run)
print(api.conclude(run).pick.sentence)
```
"""

from audition.api.models import Engines, find_model, find_models, import_model, install
from audition.api.plans import load_suite, make_plan, prepare
from audition.api.runs import Conclusion, Silent, conclude, resume

__all__ = [
    "Conclusion",
    "Engines",
    "Silent",
    "conclude",
    "find_model",
    "find_models",
    "import_model",
    "install",
    "load_suite",
    "make_plan",
    "prepare",
    "resume",
]
