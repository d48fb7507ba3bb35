"""Charts as SVG without scripts; the style sheet of the page sets their colours."""
