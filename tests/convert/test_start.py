"""What a detector does before its first image: one recipe is built, and nothing is computed twice."""

import subprocess
import sys

import pytest

SCRIPT = """
import os
import sys
import spiking_yolo
from spiking_yolo import SpikingYOLO
package = os.path.dirname(spiking_yolo.__file__) + os.sep
calls = 0
def count(frame, event, argument):
    global calls
    calls += event == "call" and frame.f_code.co_filename.startswith(package)
sys.setprofile(count)
SpikingYOLO()
sys.setprofile(None)
from spiking_yolo.convert.methods import METHODS
print(calls, *[name for name, method in METHODS.items() if "recipe" in vars(method)])
"""


@pytest.mark.slow
def test_one_recipe_is_built_in_few_calls():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    calls, *recipes = done.stdout.split()
    assert recipes == ["signed-digits"], done.stderr
    assert int(calls) <= 3300
