"""Edge: the command line, its commands and their options."""
