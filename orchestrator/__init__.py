"""The heavy side: trains, compresses, publishes and rolls out models, and decides when to do it again."""
