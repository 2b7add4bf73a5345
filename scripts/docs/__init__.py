"""The generator of the reference pages: `make docs` runs it, tests/test_docs.py compares."""
