"""The command line: options in; one JSON object or short tables out, and a documented exit code."""
