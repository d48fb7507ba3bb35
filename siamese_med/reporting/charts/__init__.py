"""Charts as SVG without scripts, styled by the page they are in."""
