"""Pages: each a self-contained HTML file that needs no network, all in one frame."""
