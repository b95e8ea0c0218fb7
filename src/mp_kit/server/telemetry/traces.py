"""OpenTelemetry traces, where an endpoint is configured and the library is there; else nothing is made, nothing costs.

1. Spans hold route templates, statuses, ids of ours and the kind of an error: no path, no query, no SQL, no message.
2. The provider is this process's own, not the library's global one, so that a notebook's tracing stays as it was.
3. Sampling, headers and batches are the library's, by its own variables (OTEL_TRACES_SAMPLER, …).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from mp_kit.server import redaction

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

__all__ = ["SpanFactory", "Tracing", "make"]

log = logging.getLogger(__name__)

SpanFactory = Callable[[], AbstractContextManager[object]]
"""Opens a span for a block."""

_SERVICE = "mp-kit"
_PATH = "/v1/traces"


class Tracing:
    """Spans of one process.

    Args:
        provider: The library's, with an exporter.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[Span]:
        """A span of a request; a ``traceparent`` among its headers makes it a part of the caller's trace."""
        from opentelemetry.trace import SpanKind

        above = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(
            "request", context=above, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A span of a transaction, from the wait for a connection to the commit."""
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            "transaction",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql"},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                fail(span, type(error).__name__)
                raise

    def close(self) -> None:
        """Sends what waits, for some seconds at most."""
        self._provider.shutdown()


def fail(span: Span, kind: str) -> None:
    """Marks a span as failed; the kind of the error is all that it tells."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def finish(span: Span, attributes: Mapping[str, str | int], *, name: str, status: int | None) -> str:
    """Says of a request's span what is known at its end; returns the id of its trace."""
    span.update_name(name)
    told = {key: redaction.redact(value) if isinstance(value, str) else value for key, value in attributes.items()}
    span.set_attributes({key: value for key, value in told.items() if value != ""})
    if status is None or status >= 500:  # noqa: PLR2004 - HTTP's own limit
        fail(span, "aborted" if status is None else str(status))
    return trace_id(span)


def trace_id(span: Span) -> str:
    """The id of a span's trace, as 32 hexadecimal digits."""
    return f"{span.get_span_context().trace_id:032x}"


def make(endpoint: str) -> Tracing | None:
    """Traces to an OTLP receiver over HTTP, or none.

    Args:
        endpoint: Its root, such as ``http://127.0.0.1:4318``; empty for none.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'mp-kit[otel]'"
        )
        return None
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}{_PATH}")))
    return Tracing(provider)
