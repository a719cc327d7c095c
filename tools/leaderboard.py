"""`spiking-yolo leaderboard` in a checkout, installed or not."""

from _checkout import tool

if __name__ == "__main__":
    tool("leaderboard")
