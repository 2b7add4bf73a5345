"""What every process shows of itself: its memory limit, and when its certificates expire."""

import math
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.telemetry import process

DAY_S = 86_400


def certificate(folder: Path, name: str, days: int) -> str:
    key = folder / f"{name}.key"
    request = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    file = folder / f"{name}.pem"
    subject = ("-subj", f"/CN={name}", "-days", str(days))
    command = ("openssl", *request, *subject, "-keyout", str(key), "-out", str(file))
    subprocess.run(command, check=True, capture_output=True)
    return file.read_text()


def test_the_expiry_is_that_of_the_certificate(tmp_path: Path) -> None:
    """After 2049 too, whose years have four digits; a file that is replaced is read again."""
    soon, later = certificate(tmp_path, "soon", 3), certificate(tmp_path, "later", 20_000)
    both = tmp_path / "both.pem"
    both.write_text(f"# a comment\n{later}{soon}")
    registry = CollectorRegistry()
    named = {
        "ssl.ca.location": str(both),
        "ssl.certificate.location": str(both),
        "ssl.certificate.pem": later,
        "SSL_CERT_FILE": str(tmp_path / "missing.pem"),
        "ssl.ca.pem": "no certificate",
    }
    process.watch_certificates(process.certificate_gauge(registry), named)

    def days(name: str) -> float:
        metric = "wootric_certificate_expiry_timestamp_seconds"
        ends = registry.get_sample_value(metric, {"certificate": name})
        assert ends is not None
        return (ends - time.time()) / DAY_S

    assert days("ssl.ca.location") == pytest.approx(20_000, abs=0.1)  # trusted until the last
    assert days("ssl.certificate.location") == pytest.approx(3, abs=0.1)
    assert days("ssl.certificate.pem") == pytest.approx(20_000, abs=0.1)
    assert math.isnan(days("SSL_CERT_FILE"))
    assert math.isnan(days("ssl.ca.pem"))
    both.write_text(f"{later}{later}\n")
    assert days("ssl.certificate.location") == pytest.approx(20_000, abs=0.1)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1073741824\n", 2**30),
        ("max\n", math.inf),
        ("9223372036854771712\n", math.inf),
        (None, math.inf),
    ],
)
def test_the_limit_is_that_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, expected: float
) -> None:
    file = tmp_path / "memory.max"
    if written is not None:
        file.write_text(written)
    monkeypatch.setattr(process, "CGROUP_LIMITS", (tmp_path / "none", file))
    assert process.memory_limit() == expected
