"""Running and writing safely: atomic files, parallel processes, progress, interruption, files from other sources."""
