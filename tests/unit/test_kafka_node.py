"""The properties of a local Kafka."""

from pathlib import Path

from stream.devtools.kafka_node import Endpoint, server_properties

A_MINUTE_MS = 60_000


def test_a_single_node_is_not_fenced_when_it_gets_no_processor_for_a_while(tmp_path: Path) -> None:
    """Of three, the others take over from one that is silent, as soon as Kafka's default says."""
    nodes = tuple(Endpoint(number, number + 1) for number in (10_000, 10_002, 10_004))
    alone = server_properties(1, nodes[:1], tmp_path)
    assert int(alone["broker.session.timeout.ms"]) >= A_MINUTE_MS
    assert "broker.session.timeout.ms" not in server_properties(1, nodes, tmp_path)
