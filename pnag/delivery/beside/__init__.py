"""Published networks beside ours: for each of a measured zoo, a network of the run that is at most as slow.

In come a zoo's file and a run. Out go pairs: what the published network takes here and its accuracy in print, what ours
is predicted to take and to reach, and, where both are measured in one session, whether ours is at most as slow.
"""
