"""Makes the runs of many videos: one after the other, in several processes, or on a cluster."""
