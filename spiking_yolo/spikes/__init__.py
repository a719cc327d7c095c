"""The part that both engines share: how events are counted and what they cost, what an event is
worth in each channel, and what a run gives back.
"""
