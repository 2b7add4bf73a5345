"""The Wootric destination: its operations, its requests, its answers."""
