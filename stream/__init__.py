"""Kafka to Kafka: records, decode, transform, ledger, flow, processor and the edges."""

__version__ = "0.1.0"
