"""What devices measured, on its way in, added up, and out to Prometheus."""
