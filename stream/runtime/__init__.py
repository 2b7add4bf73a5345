"""Edge: wires the worker together and turns its event loop."""
