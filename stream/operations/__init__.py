"""What an operator asks of a running stream, and does to it.

One module per command. What they conclude is decided in ``analysis``, which is pure; the rest asks
Kafka through ``stream.kafka`` and talks to the terminal.
"""
