"""What Espalier decides, as pure functions of plain data: gates, rollouts, recompression, choice among candidates.

Time comes in as an argument, nothing is read or written. So a decision can be replayed from its record, and a rollout
over a thousand faulty devices simulated in a second.
"""
