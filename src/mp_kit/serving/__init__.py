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
"""

from __future__ import annotations

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
