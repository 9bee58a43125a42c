// Plays the last frames of replicas as balls and sticks on a canvas. Data: see viewer.py. Nothing is loaded from outside.
(() => {
  "use strict";
  const COLOURS = { H: "#f2f2f2", C: "#4d4d4d", N: "#4a7fd6", O: "#d1495b", F: "#7fc97f", S: "#e6c229", Cl: "#3fa34d",
    Br: "#8d5524", P: "#e08e45", I: "#6a3d9a" };
  const RADII = { H: 0.28, C: 0.42, N: 0.41, O: 0.4, F: 0.38, S: 0.5, Cl: 0.5, Br: 0.55, P: 0.5, I: 0.6 };
  const MARK = "#e66100", INK = "#1d2429";

  class Stage {
    constructor(canvas) {
      this.canvas = canvas;
      this.movie = null;
      this.frame = 0;
      this.turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
      this.zoom = 1;
      let last = null;
      canvas.addEventListener("pointerdown", (event) => { last = event; canvas.setPointerCapture(event.pointerId); });
      canvas.addEventListener("pointerup", () => { last = null; });
      canvas.addEventListener("pointercancel", () => { last = null; });
      canvas.addEventListener("pointermove", (event) => {
        if (!last) return;
        this.rotate((event.clientX - last.clientX) / 90, (event.clientY - last.clientY) / 90);
        last = event;
      });
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        this.zoom = Math.min(4, Math.max(0.4, this.zoom * Math.exp(-event.deltaY / 600)));
        this.draw();
      }, { passive: false });
    }

    rotate(x, y) {
      const [cx, sx, cy, sy] = [Math.cos(x), Math.sin(x), Math.cos(y), Math.sin(y)];
      const t = this.turn, about = [cx, 0, sx, sy * sx, cy, -sy * cx, -cy * sx, sy, cy * cx], made = [];
      for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) {
        made.push(about[3 * i] * t[j] + about[3 * i + 1] * t[3 + j] + about[3 * i + 2] * t[6 + j]);
      }
      this.turn = made;
      this.draw();
    }

    show(movie) {
      this.movie = movie;
      this.frame = movie.frames.length - 1;
      this.extent = 1 + Math.max(...movie.frames[0].map(Math.abs));
      this.turn = flattest(movie.frames[0]);
      this.canvas.dataset.marked = movie.marked ? movie.marked.join("-") : "";
      this.draw();
    }

    draw() {
      const { canvas, movie } = this;
      if (!movie) return;
      const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth || 320, height = 0.75 * width;
      if (canvas.width !== Math.round(width * ratio)) {
        [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
      }
      const context = canvas.getContext("2d"), t = this.turn, flat = movie.frames[this.frame];
      const scale = (width / 2 / this.extent) * this.zoom;
      canvas.dataset.frame = this.frame;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const points = movie.symbols.map((symbol, i) => {
        const [x, y, z] = [flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]];
        const depth = t[6] * x + t[7] * y + t[8] * z, near = 1 + depth / (6 * this.extent);
        return { x: width / 2 + (t[0] * x + t[1] * y + t[2] * z) * scale * near,
          y: height / 2 + (t[3] * x + t[4] * y + t[5] * z) * scale * near,
          depth, near, symbol, radius: (RADII[symbol] || 0.45) * scale * near };
      });
      const [first, second] = movie.marked || [-1, -1];
      const isMarked = (i, j) => (i === first && j === second) || (i === second && j === first);
      const parts = points.map((point, i) => ({ depth: point.depth, draw: () => this.ball(context, point, i === first || i === second) }));
      for (const [i, j] of movie.bonds) {
        const [a, b] = [points[i], points[j]];
        parts.push({ depth: (a.depth + b.depth) / 2 - 0.01, draw: () => this.stick(context, a, b, isMarked(i, j) ? MARK : "#9aa3a9", scale) });
      }
      parts.sort((a, b) => a.depth - b.depth).forEach((part) => part.draw());
      if (movie.marked) {
        const [a, b] = [points[first], points[second]];
        context.strokeStyle = MARK;
        context.lineWidth = 2;
        context.setLineDash([5, 4]);
        context.beginPath();
        context.moveTo(a.x, a.y);
        context.lineTo(b.x, b.y);
        context.stroke();
        context.setLineDash([]);
        const distance = Math.hypot(...[0, 1, 2].map((k) => flat[3 * first + k] - flat[3 * second + k]));
        label(context, `${distance.toFixed(2)} Å`, (a.x + b.x) / 2 + 10, (a.y + b.y) / 2 - 12, MARK);
      }
      label(context, `${(movie.times_fs[this.frame] / 1000).toFixed(3)} ps`, 8, 18, INK);
    }

    ball(context, point, marked) {
      const { x, y, radius } = point, colour = COLOURS[point.symbol] || "#b15fa8";
      const shade = context.createRadialGradient(x - radius / 3, y - radius / 3, radius / 8, x, y, radius);
      shade.addColorStop(0, "#ffffff");
      shade.addColorStop(0.35, colour);
      shade.addColorStop(1, colour);
      context.fillStyle = shade;
      context.strokeStyle = marked ? MARK : "rgba(29, 36, 41, 0.55)";
      context.lineWidth = marked ? 3 : 0.8;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }

    stick(context, a, b, colour, scale) {
      context.strokeStyle = colour;
      context.lineWidth = Math.max(2, 0.16 * scale);
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(a.x, a.y);
      context.lineTo(b.x, b.y);
      context.stroke();
    }
  }

  function label(context, text, x, y, colour) {
    context.font = "600 13px system-ui, sans-serif";
    context.lineWidth = 4;
    context.strokeStyle = "#ffffff";
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }

  // The turn that lays the two longest principal axes of a frame into the plane of the screen.
  function flattest(flat) {
    const c = [0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (let a = 0; a < flat.length; a += 3) for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) c[3 * i + j] += flat[a + i] * flat[a + j];
    const longest = (without) => {
      let v = without ? [without[1] - 0.3, without[2] + 0.2, without[0] + 0.1] : [1, 0.7, 0.4];
      for (let step = 0; step < 80; step++) {
        if (without) {
          const along = v[0] * without[0] + v[1] * without[1] + v[2] * without[2];
          v = v.map((value, i) => value - along * without[i]);
        }
        v = [0, 1, 2].map((i) => c[3 * i] * v[0] + c[3 * i + 1] * v[1] + c[3 * i + 2] * v[2]);
        const length = Math.hypot(...v) || 1;
        v = v.map((value) => value / length);
      }
      return v;
    };
    const x = longest(null), y = longest(x);
    return [...x, ...y, x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]];
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const [choice, slider, button] = [part("choice"), part("slider"), part("play")];
    const stages = [];
    const put = (name, movie) => {
      const stage = new Stage(part(name));
      stages.push(stage);
      if (movie) stage.show(movie);
      return stage;
    };
    const collapse = put("collapse", null);
    if (data.survivor) {
      put("survivor", data.survivor);
      part("survivor-text").textContent = `${data.survivor.title}: ${data.survivor.subtitle}`;
    }
    data.collapses.forEach((movie, i) => choice.add(new Option(`${movie.title}: ${movie.subtitle}`, i)));
    let timer = null;
    const go = (share) => {
      slider.value = share;
      for (const stage of stages) if (stage.movie) {
        stage.frame = Math.round((share / 1000) * (stage.movie.frames.length - 1));
        stage.draw();
      }
    };
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    const choose = () => {
      stop();
      collapse.show(data.collapses[choice.value]);
      part("collapse-text").textContent = choice.options[choice.selectedIndex].text;
      go(1000);
    };
    button.addEventListener("click", () => {
      if (timer) return stop();
      button.textContent = "Pause";
      if (Number(slider.value) >= 1000) go(0);
      const count = Math.max(...stages.filter((stage) => stage.movie).map((stage) => stage.movie.frames.length));
      timer = setInterval(() => {
        const share = Math.min(1000, Number(slider.value) + 1000 / Math.max(1, count - 1));
        go(share);
        if (share >= 1000) stop();
      }, 90);
    });
    slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
    choice.addEventListener("change", choose);
    window.addEventListener("resize", () => stages.forEach((stage) => stage.draw()));
    choose();
    root.dataset.ready = "yes";
  }

  document.querySelectorAll(".viewer").forEach(start);
})();
