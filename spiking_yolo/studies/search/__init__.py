"""Tune the numbers of a recipe on calibration images: space -> score -> study."""
