"""State on disk: what the ledger says of each partition, in an embedded store.

The ledger in Kafka is the truth and the store's write-ahead log; the store is a cache of it. It
may lag behind the ledger, never lead, and whatever is wrong with it is mended by a fresh one.
"""
