"""The command line of igc: parses, calls the library, renders, sets the exit code."""
