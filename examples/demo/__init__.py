"""`make demo`: the whole loop on this machine, with real processes, in a few minutes.

Ray, the control plane, three agents and a camera application on each are started as an operator would start them. Phase
1 trains, compresses, measures, chooses and rolls out. In phase 2 one camera degrades; the loop notices, decides,
compresses again with images from that device, and rolls out. The table at the end is what was measured, and the exit
code is 0 only if every claim in it was.
"""
