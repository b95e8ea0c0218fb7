"""Request bodies as RunPod's REST v2 takes them: closed, strict, no nulls where the contract has none.

1. An unknown key is refused; so is a number sent as text.
2. A field that was not sent is not in ``model_fields_set``; its default here is never sent back as if it had been.
3. Rules between fields are no part of the shape: RunPod answers them with 400, see ``rule_broken``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = [
    "ActionRequest",
    "Container",
    "CreateEndpoint",
    "CreatePod",
    "CreateTemplate",
    "UpdateEndpoint",
    "UpdatePod",
    "parse",
    "rule_broken",
]

MAX_ENV = 50
_LATER = {"entrypoint", "cmd", "minRamPerGpu", "minVcpuCountPerGpu"}
"""Keys that came after the published contract; refused unless the fake is told to know them."""

T = TypeVar("T", bound=BaseModel)
Text = Annotated[str, Field(min_length=1)]
Cuda = Annotated[str, Field(pattern=r"^\d+\.\d+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Gpu(_Body):
    """One GPU type."""

    id: str
    count: Annotated[int, Field(ge=1)] = 1
    allowedCudaVersions: list[Cuda] = []  # noqa: N815 - the wire's name
    minCudaVersion: Cuda = ""  # noqa: N815 - the wire's name
    minRamPerGpu: int = 0  # noqa: N815 - the wire's name
    minVcpuCountPerGpu: int = 0  # noqa: N815 - the wire's name


class Cpu(_Body):
    """A CPU flavour."""

    id: Text
    vcpuCount: Annotated[int, Field(ge=2)]  # noqa: N815 - the wire's name


class PersistentMount(_Body):
    """A volume on the host."""

    size: Annotated[int, Field(ge=10)]
    path: str


class NetworkMount(_Body):
    """A network volume."""

    volumeId: str  # noqa: N815 - the wire's name
    path: str


class Mounts(_Body):
    """Volumes of a pod."""

    persistent: PersistentMount = None  # type: ignore[assignment] # absent, and null is refused
    network: Annotated[list[NetworkMount], Field(max_length=1)] = []


class Container(_Body):
    """What pods, templates and endpoints share."""

    args: str = ""
    disk: Annotated[int, Field(ge=1)] = 50
    env: dict[str, str] = {}
    image: str = ""
    ports: list[str] = []
    registry: str | None = None
    entrypoint: list[str] = []
    cmd: list[str] = []


class CreatePod(Container):
    """``POST /v2/pods``."""

    name: Text
    cloud: Literal["SECURE", "COMMUNITY"] = "SECURE"
    cpu: Cpu = None  # type: ignore[assignment] # absent, and null is refused
    gpu: Gpu = None  # type: ignore[assignment] # absent, and null is refused
    dataCenterIds: list[str] = []  # noqa: N815 - the wire's name
    globalNetworking: bool = False  # noqa: N815 - the wire's name
    mounts: Mounts = Mounts()
    startJupyter: bool = False  # noqa: N815 - the wire's name
    startSsh: bool = False  # noqa: N815 - the wire's name
    templateId: Text = ""  # noqa: N815 - the wire's name


class UpdatePod(Container):
    """``PATCH /v2/pods/{id}``."""

    name: Text = ""
    globalNetworking: bool = False  # noqa: N815 - the wire's name
    locked: bool = False
    mounts: Mounts = Mounts()
    templateId: str = ""  # noqa: N815 - the wire's name


class ActionRequest(_Body):
    """``POST /v2/pods/{id}/action``."""

    action: Literal["start", "stop", "restart", "terminate"]


class CreateTemplate(Container):
    """``POST /v2/templates``."""

    name: Text
    image: str
    allowedCudaVersions: list[Cuda] = []  # noqa: N815 - the wire's name
    category: Literal["NVIDIA", "AMD", "CPU"] = "NVIDIA"
    mounts: Mounts = Mounts()
    public: bool = False
    serverless: bool = False
    startJupyter: bool = True  # noqa: N815 - the wire's name
    startSsh: bool = True  # noqa: N815 - the wire's name


class EndpointGpu(_Body):
    """GPUs of an endpoint: pools, not types."""

    pools: Annotated[list[str], Field(min_length=1)] = []
    excludedTypes: list[str] = []  # noqa: N815 - the wire's name
    count: Annotated[int, Field(ge=1)] = 1
    allowedCudaVersions: list[Cuda] = []  # noqa: N815 - the wire's name
    minCudaVersion: str = ""  # noqa: N815 - the wire's name


class NewEndpointGpu(EndpointGpu):
    """GPUs of a new endpoint, which must name its pools."""

    pools: Annotated[list[str], Field(min_length=1)]


class Workers(_Body):
    """How many workers."""

    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=0)] = 3
    idleTimeout: Annotated[int, Field(ge=1, le=3600)] = 10  # noqa: N815 - the wire's name


class QueueDelay(_Body):
    """Scaling by the queue's delay."""

    type: Literal["QUEUE_DELAY"]
    queueDelay: Annotated[float, Field(ge=0.5)]  # noqa: N815 - the wire's name


class RequestCount(_Body):
    """Scaling by requests."""

    type: Literal["REQUEST_COUNT"]
    requestCount: Annotated[int, Field(ge=1)]  # noqa: N815 - the wire's name


Scaling = Annotated[QueueDelay | RequestCount, Field(discriminator="type")]


class UpdateEndpoint(Container):
    """``PATCH /v2/serverless/{id}``."""

    name: Text = ""
    cpu: Annotated[list[Cpu], Field(min_length=1)] = []
    gpu: EndpointGpu = EndpointGpu()
    scaling: Scaling = None  # type: ignore[assignment] # absent, and null is refused
    dataCenterIds: list[str] = []  # noqa: N815 - the wire's name
    flashboot: Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"] = "OFF"
    networkVolumes: list[str] = []  # noqa: N815 - the wire's name
    templateId: str = ""  # noqa: N815 - the wire's name
    timeout: int = 0
    workers: Workers = Workers()


class CreateEndpoint(UpdateEndpoint):
    """``POST /v2/serverless``."""

    name: Text
    type: Literal["QUEUE", "LOAD_BALANCER"]
    scaling: Scaling
    gpu: NewEndpointGpu = None  # type: ignore[assignment] # absent, and null is refused


def parse(model: type[T], body: Any, *, later: bool) -> tuple[T | None, list[str]]:
    """Reads a body.

    Args:
        model: Its shape.
        body: The parsed JSON.
        later: Whether keys are known that came after the published contract.

    Returns:
        The body and no errors, or None and what is wrong with it.
    """
    errors = [] if later else _later_keys(body)
    try:
        return (None, errors) if errors else (model.model_validate(body), [])
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()]


def rule_broken(wanted: Container) -> str | None:
    """The rule between fields that a well-formed body breaks; RunPod answers it with 400."""
    sent = wanted.model_fields_set
    if isinstance(wanted, CreatePod | CreateEndpoint) and len(sent & {"gpu", "cpu"}) != 1:
        return "exactly one of gpu or cpu is required"
    mounts = getattr(wanted, "mounts", Mounts())
    if len(mounts.model_fields_set) > 1:
        return "mounts.persistent and mounts.network are mutually exclusive"
    gpu = getattr(wanted, "gpu", None)
    if gpu and gpu.allowedCudaVersions and gpu.minCudaVersion:
        return "allowedCudaVersions and minCudaVersion are mutually exclusive"
    if len(wanted.env) > MAX_ENV:
        return f"no more than {MAX_ENV} environment variables are allowed"
    return _endpoint_rule(wanted) if isinstance(wanted, CreateEndpoint) else None


def _endpoint_rule(wanted: CreateEndpoint) -> str | None:
    if wanted.workers.min > wanted.workers.max:
        return "workers.min must not exceed workers.max"
    return None


def _later_keys(body: Any) -> list[str]:
    if not isinstance(body, dict):
        return []
    gpu = body.get("gpu")
    names = {*body, *(gpu if isinstance(gpu, dict) else ())}
    return [f"{name}: unknown field" for name in sorted(names & _LATER)]
