"""Edge: wires the worker together and runs its event loop."""
