"""`spiking-yolo eval --metric accuracy` in a checkout, installed or not."""

from _checkout import tool

if __name__ == "__main__":
    tool("eval", "--metric", "accuracy")
