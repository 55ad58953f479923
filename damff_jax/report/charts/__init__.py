"""Charts of reports, as inline SVG."""
