"""The RPC services: each method reads the request, calls one domain method and answers; errors become statuses once."""
