"""Persistent state stores: the state of each partition in an embedded database.

The ledger in Kafka is the source of truth and the store's write-ahead log; the store is a cache. It
may lag behind the ledger but never lead, and a faulty store is replaced by a new one.
"""
