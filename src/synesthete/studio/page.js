// What the page does by itself: drawing with mouse, pen or finger, marking, and spectrograms that seek in their sounds.
(() => {
  const drawn = new WeakSet();
  const at = (pad, event) => {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) * pad.width / box.width, (event.clientY - box.top) * pad.height / box.height];
  };
  const clear = (pad) => {
    const brush = pad.getContext("2d");
    brush.fillStyle = "#fff";
    brush.fillRect(0, 0, pad.width, pad.height);
    drawn.delete(pad);
  };
  let held = null;
  document.addEventListener("pointerdown", (event) => {
    const pad = event.target.closest?.("canvas.pad");
    if (!pad) return;
    event.preventDefault();
    if (!drawn.has(pad)) clear(pad);
    drawn.add(pad);
    const brush = pad.getContext("2d");
    Object.assign(brush, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
    brush.beginPath();
    brush.moveTo(...at(pad, event));
    brush.lineTo(...at(pad, event));
    brush.stroke();
    held = pad;
  });
  document.addEventListener("pointermove", (event) => {
    if (!held) return;
    const brush = held.getContext("2d");
    brush.lineTo(...at(held, event));
    brush.stroke();
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { held = null; });

  // The drawing as a PNG, with "-" before it where its tab is not the one that is seen; "" where nothing is drawn.
  window.studioDrawing = (id) => {
    const pad = document.getElementById(id);
    return pad && drawn.has(pad) ? (pad.offsetParent === null ? "-" : "") + pad.toDataURL("image/png") : "";
  };
  window.studioClear = (id) => clear(document.getElementById(id));

  // A stretch marked in a picture is written into its field, as seconds or as the bars that it touches.
  let marked = null;
  const mark = (event) => {
    const box = marked.place.getBoundingClientRect();
    const now = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    marked.from ??= now;
    const { length, unit, field: name } = marked.place.dataset;
    let [first, last] = [Math.min(marked.from, now), Math.max(marked.from, now)].map((share) => share * length);
    if (unit === "bars") [first, last] = [Math.min(Math.floor(first), length - 1), Math.max(Math.ceil(last), 1)];
    const [left, width] = [first, last - first].map((share) => `${100 * share / length}%`);
    Object.assign(marked.place.querySelector("i").style, { left, width });
    const field = document.querySelector(`#${name} :is(textarea, input)`);
    field.value = unit === "bars" ? `${first + 1}-${last}` : `${first.toFixed(2)} ${last.toFixed(2)}`;
    return field;
  };
  document.addEventListener("pointerdown", (event) => {
    const place = event.target.closest?.(".mark");
    if (!place) return;
    event.preventDefault();
    marked = { place };
    mark(event);
  });
  document.addEventListener("pointermove", (event) => { if (marked) mark(event); });
  document.addEventListener("pointerup", (event) => {
    if (marked) mark(event).dispatchEvent(new Event("input", { bubbles: true }));
    marked = null;
  });

  // What gradio names badly or not at all: its ornaments are no pictures, an example is called as its file, and what
  // files are dropped on is called what it says, which its own name leaves out.
  new MutationObserver(() => {
    for (const one of document.querySelectorAll("svg:not([aria-label], [aria-hidden])")) one.ariaHidden = "true";
    for (const one of document.querySelectorAll(".gallery-item:not([aria-label]):has(img)"))
      one.ariaLabel = one.querySelector("img").src.split("/").pop().replace(/\.\w+$/, "");
    for (const one of document.querySelectorAll(".upload-container[aria-label]"))
      if (one.innerText.trim()) one.ariaLabel = null;
  }).observe(document, { childList: true, subtree: true });

  document.addEventListener("click", (event) => {
    const seek = event.target.closest?.(".seek");
    const sound = seek?.parentElement.querySelector("audio");
    if (!sound || !Number.isFinite(sound.duration)) return;
    const box = seek.getBoundingClientRect();
    sound.currentTime = sound.duration * (event.clientX - box.left) / box.width;
  });
  document.addEventListener("timeupdate", (event) => {
    const line = event.target.parentElement?.querySelector(".seek i");
    if (line) line.style.left = `${100 * event.target.currentTime / event.target.duration}%`;
  }, true);
})();
