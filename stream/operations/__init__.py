"""Operator commands, one module per command.

Conclusions are in ``analysis``, which is pure; the rest reads Kafka through ``stream.kafka`` and
prints.
"""
