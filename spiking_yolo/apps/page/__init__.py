"""The page of `detect --page`: photographs at every timestep, or a video frame by frame."""
