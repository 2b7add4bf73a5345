"""Core: the format of the ledger, and the protocol of a state store."""
