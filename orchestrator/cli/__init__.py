"""The command line, one file per group of commands; a client of the operator API that needs neither ray nor torch."""
