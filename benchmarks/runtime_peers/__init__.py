"""Parts of `benchmarks/runtime_peers.py`: small models timed on this project's engine and on other runtimes.

Modules here run in several Python environments (one per peer), so each imports only what its own work needs.
"""
