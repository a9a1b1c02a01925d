"""The wire and the file format: protocol buffers and their generated stubs, no logic."""
