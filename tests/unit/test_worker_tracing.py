"""Whether OpenTelemetry's variables turn tracing on."""

import pytest

from stream.errors import StartupError
from stream.runtime.worker import TRACE_ENDPOINTS, tracing

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "environ",
    [{}, {TRACE_ENDPOINTS[0]: ""}, {TRACE_ENDPOINTS[1]: URL, "OTEL_SDK_DISABLED": "TRUE"}],
)
def test_without_an_endpoint_or_disabled_there_is_none(environ: dict[str, str]) -> None:
    assert tracing("w1", environ) is None


@pytest.mark.parametrize("name", TRACE_ENDPOINTS)
def test_an_endpoint_that_is_no_url_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(StartupError, match=name) as refused:
        tracing("w1", {name: "collector:4318"})
    assert refused.value.exit_code == 78
