"""The command line: one thin command a file; heavy imports only once a command runs."""
