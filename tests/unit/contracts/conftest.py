"""How the tests of contracts read a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from mp_kit.contracts import Model

Refused = Callable[[type[Model], Any], dict[str, str]]


@pytest.fixture
def refused() -> Refused:
    """A function from contract and bad document to the places that the refusal names, each with its sentence."""

    def places(contract: type[Model], document: Any) -> dict[str, str]:
        with pytest.raises(ValidationError) as caught:
            contract.model_validate(document)
        return {".".join(str(part) for part in one["loc"]): one["msg"] for one in caught.value.errors()}

    return places
