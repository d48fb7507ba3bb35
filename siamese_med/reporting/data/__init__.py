"""What a page says, as typed data, before anything is drawn."""
