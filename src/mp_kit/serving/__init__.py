"""A vendor's inference server: the contract's routes, signs of life and signals around a model of the vendor's own.

::

    from mp_kit.serving import serve

    class Mine:
        task = "signal"
        version = "1"

        def infer(self, request):  # an InferRequest, checked
            return {"decision": "HOLD", "confidence": 0.5}

    serve(Mine)

1. The contract is kept here, whatever the model does: it gets checked requests only, and what it answers is checked.
2. The server listens before the model is loaded; until then ``/ready`` and ``/infer`` say so with 503.
3. Nothing is sent to a marketplace without a token, and nothing at all for a request that is marked as a dry run.

Each name is loaded when it is first used: whoever wants one module of this package does not pay for pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mp_kit.serving.allocating import allocate
    from mp_kit.serving.blending import Blend, blend
    from mp_kit.serving.inprocess import check_model
    from mp_kit.serving.live import bars_needed, live_features
    from mp_kit.serving.model import Model, version_of
    from mp_kit.serving.run import serve
    from mp_kit.serving.window import Windows

__all__ = [
    "Blend",
    "Model",
    "Windows",
    "allocate",
    "bars_needed",
    "blend",
    "check_model",
    "live_features",
    "serve",
    "version_of",
]

_HOMES = {
    "Blend": "blending",
    "Model": "model",
    "Windows": "window",
    "allocate": "allocating",
    "bars_needed": "live",
    "blend": "blending",
    "check_model": "inprocess",
    "live_features": "live",
    "serve": "run",
    "version_of": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name))


def __dir__() -> list[str]:
    return __all__
