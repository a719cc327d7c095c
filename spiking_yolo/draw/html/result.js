"use strict";
// One result, in a cell of a notebook: the picture and its boxes at every recorded timestep.
const stage = new Stage("", "30rem");

const slider = player({
  count: data.steps.length,
  label: "Timestep T",
  name: (k) => `T = ${data.steps[k]}`,
  said: (k) => counted(data.boxes[k]),
  show: draw,
  pace: Math.max(120, Math.min(600, 9000 / data.steps.length)),
});

function draw(k) {
  stage.show(data.image, data.width, data.height, `At T = ${data.steps[k]} the spiking network finds ${counted(data.boxes[k])}`);
  stage.draw([{ boxes: data.boxes[k], dashed: false }]);
}

document.body.classList.add("cell");
document.getElementById("lead").append(data.summary);
document.getElementById("main").append(stage.element, slider.element);
slider.go(data.steps.length - 1);
