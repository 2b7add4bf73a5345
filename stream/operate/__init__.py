"""What an operator asks of a running stream, and does to it.

A module a command. ``audit``, ``doubts``, ``erasure``, ``flaws``, ``going_back``, ``identity``,
``letters``, ``moments`` and ``story`` decide and are pure, which an import contract holds; the
rest asks Kafka through ``stream.kafka`` and talks to the terminal.
"""
