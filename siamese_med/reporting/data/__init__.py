"""The content of every page as typed data, before anything is rendered."""
