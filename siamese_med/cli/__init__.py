"""The command line: options in, one JSON object or short tables out, and an exit code that means something."""
