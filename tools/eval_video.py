"""`spiking-yolo eval` of videos in a checkout, installed or not."""

from _checkout import tool

if __name__ == "__main__":
    tool("eval")
