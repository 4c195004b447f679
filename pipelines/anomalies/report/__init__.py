"""An HTML report of what a stream found: scores, incidents, reasons, precision, delay."""
