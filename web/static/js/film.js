// The film page: the film and its heatmap as two layers, their controls and keys. The film itself is never hidden.

import { setUpDial } from "./dial.js";
import { follow, isNeedless } from "./follow.js";
import { describeWindow, describeWish, invert, moveWindow, paint, resetGreys } from "./greys.js";
import { setUpFocus, setUpPicker, setUpReview } from "./heatmap.js";
import { setUpDeletion, setUpNeighbours } from "./neighbours.js";
import { isTaken, keep, recall, say } from "./page.js";

const FULL_OPACITY = 65; // per cent that the drawn overlay has where the map is highest
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "reset", l: "left", r: "right", i: "invert", v: "window", o: "heatmap" };
const GREYS_A_STEP = 8;
const GREY_KEYS = { b: [0, -1], d: [0, 1], c: [-1, 0], s: [1, 0] }; // brighter, darker, more contrast, softer
const GREYS_A_PX = 0.5; // of a drag
const holder = document.getElementById("viewer");
const words = document.getElementById("viewer-words");
const viewWords = document.getElementById("view-words");
const zoomWords = document.getElementById("zoom-words");
const mapLabel = document.getElementById("map-label");
const dialToggle = document.querySelector('[data-view="heatmap"]');
const wish = { opacity: 40, isOn: beginsOn(), isWindowed: false };
const paper = matchMedia("print");
let seen = { isWhole: true }; // what is seen of the film on the screen, whatever becomes of the window
let isOnPaper = paper.matches; // what it was last laid out for; the media may change before their event comes
let isResized = false;
let heatmap = null;
let heatmapUrl = ""; // of the map that is shown or on its way
let requests = 0; // how many maps were asked for; only the last one may be laid over the film
let painted = describeWish(); // how the greys were wished when the film was last painted
let isPainting = false;

/** OpenSeadragon 6.1 adds an inline style, which the CSP refuses, unless it finds its mark: an element of no effect. */
function forbidInlineStyle() {
  const mark = document.createElementNS("urn:plainfilm:mark", "style"); // of a foreign namespace: no style sheet
  mark.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(mark);
}

forbidInlineStyle();
const viewer = OpenSeadragon({
  element: holder,
  tileSources: { type: "image", url: holder.dataset.film, buildPyramid: false },
  showNavigationControl: false,
  drawer: "canvas",
  visibilityRatio: 0.4,
  minZoomImageRatio: 0.5,
  maxZoomPixelRatio: 8,
  zoomPerScroll: 1.25,
  animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.4,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
});

viewer.canvas.setAttribute("role", "img");
viewer.canvas.setAttribute("aria-label", "The film");
viewer.canvas.setAttribute("aria-describedby", "viewer-help");

function findings() {
  return document.getElementById("findings");
}

/** Off before a reader's first reading, so that it is of the film alone; else as this reader left it last. */
function beginsOn() {
  const { moot, blind } = findings().dataset;
  return moot === undefined && blind === undefined && recall(wishName()) !== "off";
}

function wishName() {
  return `plainfilm-heatmap-${findings().dataset.reader}`;
}

function switchHeatmap(isOn) {
  wish.isOn = isOn;
  keep(wishName(), isOn ? "on" : "off");
  showHeatmap();
}

function findMap() {
  return document.getElementById("heatmap");
}

/** Where the chosen map's picture is; empty while there is none, or while another method is chosen that has none. */
function chosenUrl() {
  const { heatmap: url, pending } = findMap()?.dataset ?? {};
  return pending === undefined ? (url ?? "") : "";
}

/** Lay the chosen heatmap over the film as soon as there is one, and take another one away. */
function changeHeatmap() {
  const url = chosenUrl();
  if (url === heatmapUrl || !viewer.world.getItemCount()) return;
  heatmapUrl = url;
  const request = ++requests;
  if (heatmap) viewer.world.removeItem(heatmap);
  heatmap = null;
  if (!url) return;
  viewer.addTiledImage({
    tileSource: { type: "image", url, buildPyramid: false },
    width: 1,
    opacity: 0,
    success: (event) => {
      if (request !== requests) return void viewer.world.removeItem(event.item); // another was chosen meanwhile
      heatmap = event.item;
      showHeatmap();
    },
    error: () => {
      if (request !== requests) return;
      heatmapUrl = ""; // the next choice, this one included, asks again
      showHeatmap();
      say("The heatmap could not be loaded.");
    },
  });
}

function redraw() {
  changeHeatmap();
  showHeatmap();
}

function showHeatmap() {
  const strength = wish.opacity / FULL_OPACITY;
  heatmap?.setOpacity(wish.isOn ? strength : 0);
  holder.dataset.heatmap = heatmap ? heatmapUrl : "";
  holder.dataset.heatmapOpacity = heatmap ? heatmap.opacity : "";
  dialToggle.disabled = !canShow();
  dialToggle.setAttribute("aria-pressed", String(wish.isOn && canShow()));
  mapLabel.textContent = heatmap && wish.isOn ? `${findMap().dataset.name} · ${wish.opacity} %` : "";
  if (document.getElementById("opacity")) showControls(strength);
}

function showControls(strength) {
  const slider = document.getElementById("opacity");
  slider.value = wish.isOn ? wish.opacity : 0;
  document.getElementById("opacity-words").textContent = wish.isOn ? `${wish.opacity} %` : "0 %";
  document.getElementById("scale-map").setAttribute("opacity", strength);
  document.getElementById("paper-opacity").textContent = wish.isOn ? `, ${wish.opacity} % over the film` : ", not laid over the film";
}

/** There is a map, and it is not folded away with scores that mean nothing. */
function canShow() {
  return Boolean(chosenUrl()) && !isFolded();
}

function isFolded() {
  return Boolean(document.querySelector(".moot:not([open])"));
}

function toggleHeatmap() {
  if (!canShow()) return;
  switchHeatmap(!wish.isOn);
  say(wish.isOn ? "Heatmap on" : "Heatmap off");
}

function hideHeatmap() {
  wish.isOn = false;
  showHeatmap();
}

function setOpacity(percent) {
  if (isFolded()) return;
  if (percent > 0) wish.opacity = Math.min(FULL_OPACITY, percent);
  switchHeatmap(percent > 0);
}

/** Show the film's greys as they are wished, before it is drawn. */
async function paintFilm(event) {
  if (event.tiledImage !== film()) return;
  const context = await event.getData("context2d");
  painted = describeWish();
  paint(context);
  await event.setData(context, "context2d");
}

/** Paint it anew until it is as it is wished: a drag wishes faster than a large film is painted. */
async function repaint() {
  showView();
  if (isPainting) return;
  isPainting = true;
  while (film()?.getFullyLoaded() && painted !== describeWish()) {
    await film().requestInvalidate(true);
    await new Promise(requestAnimationFrame);
  }
  isPainting = false;
}

function film() {
  return viewer.world.getItemAt(0);
}

/** Zoom, window and turn beside the film: what a reader has changed must be seen to be changed. */
function showView() {
  if (!film()) return;
  const turned = degrees() ? `${degrees()}°` : "";
  viewWords.textContent = [describeWindow(), turned].filter(Boolean).join(" · ");
  zoomWords.textContent = `${Math.round(film().viewportToImageZoom(viewer.viewport.getZoom(true)) * 100)} %`;
  if (isOnPaper || paper.matches) return;
  seen = { isWhole: isWhole(), center: viewer.viewport.getCenter(), zoom: film().viewportToImageZoom(viewer.viewport.getZoom()) };
}

/** How far the film is turned to the right, or will be at once. */
function degrees() {
  return ((viewer.viewport.getRotation() % 360) + 360) % 360;
}

function changeWindow(wider, higher) {
  if (moveWindow(wider, higher)) repaint();
}

function stepWindow([wider, higher]) {
  changeWindow(GREYS_A_STEP * wider, GREYS_A_STEP * higher);
  say(describeWindow() || "Original brightness and contrast");
}

/** All of the film, also where it lies on its side. */
function showWhole(isAtOnce = false) {
  viewer.viewport.fitBounds(film().getBounds(), isAtOnce);
}

function isWhole() {
  const { width, height } = film().getBounds();
  const isOnItsSide = degrees() % 180 !== 0;
  const [across, down] = isOnItsSide ? [height, width] : [width, height];
  const zoom = 1 / Math.max(across, down * viewer.viewport.getAspectRatio());
  return Math.abs(viewer.viewport.getZoom() / zoom - 1) < 0.01;
}

/** A quarter of a turn; where all of the film was seen, all of it is afterwards. */
function turn(by) {
  if (!film()) return;
  const wasWhole = isWhole();
  viewer.viewport.setRotation(degrees() + by, true);
  if (wasWhole) showWhole(true);
  showView();
  say(degrees() ? `Turned by ${degrees()} degrees` : "Upright");
}

/** As it came: upright, all of it, its greys as they were. */
function reset() {
  resetGreys();
  showInverted(false);
  repaint();
  say("Original view");
  if (!film()) return;
  viewer.viewport.setRotation(0, true);
  showWhole();
}

function showInverted(isInverted) {
  document.querySelector('[data-view="invert"]').setAttribute("aria-pressed", String(isInverted));
}

/** Whether a drag moves the film or changes its window. */
function switchDrag() {
  wish.isWindowed = !wish.isWindowed;
  document.querySelector('[data-view="window"]').setAttribute("aria-pressed", String(wish.isWindowed));
  holder.toggleAttribute("data-window", wish.isWindowed);
  say(wish.isWindowed ? "Dragging changes brightness and contrast" : "Dragging moves the film");
}

/** As in other viewers: to the right the window widens, upwards the film brightens. */
function onDrag(event) {
  event.preventDefaultAction = wish.isWindowed || event.shift;
  if (event.preventDefaultAction && event.delta) changeWindow(GREYS_A_PX * event.delta.x, GREYS_A_PX * event.delta.y);
}

/** On paper all of the film; on the screen what was seen before the window changed. */
function seeAgain() {
  isOnPaper = paper.matches;
  if (!film()) return;
  if (isOnPaper || seen.isWhole) return void showWhole(true);
  viewer.viewport.zoomTo(film().imageToViewportZoom(seen.zoom), null, true);
  viewer.viewport.panTo(seen.center, true);
}

/** What the tools do; a wish that comes before the film is kept for it. */
const VIEWS = {
  in: () => viewer.viewport?.zoomBy(1.4),
  out: () => viewer.viewport?.zoomBy(1 / 1.4),
  reset,
  left: () => turn(-90),
  right: () => turn(90),
  invert: () => {
    showInverted(invert());
    repaint();
  },
  window: switchDrag,
  heatmap: toggleHeatmap,
};

function onKey(event) {
  if (isTaken(event)) return;
  const view = KEYS[event.key];
  const step = GREY_KEYS[event.key];
  if (view) VIEWS[view]();
  else if (step) stepWindow(step);
  else if (event.key === "[") setOpacity(wish.opacity - 5);
  else if (event.key === "]") setOpacity(wish.opacity + 5);
}

viewer.addHandler("tile-invalidated", paintFilm);
viewer.addHandler("canvas-drag", onDrag);
viewer.addHandler("canvas-drag-end", onDrag);
viewer.addHandler("open", () => {
  words.textContent = "";
  film().addHandler("fully-loaded-change", repaint);
  changeHeatmap();
});
paper.addEventListener("change", seeAgain);
viewer.addHandler("after-resize", () => (isResized = true)); // OpenSeadragon goes on to choose a zoom of its own
viewer.addHandler("open-failed", () => {
  words.textContent = viewer.element.dataset.gone ?? "The film cannot be shown; reload the page to try again.";
  for (const button of document.querySelectorAll(".dial button")) button.disabled = true;
});
viewer.addHandler("canvas-key", (event) => {
  const key = event.originalEvent.key;
  event.preventDefaultAction = key in KEYS || "adsrfwADSRFW".includes(key); // OpenSeadragon's own letters
});
viewer.addHandler("update-viewport", () => {
  if (isResized || isOnPaper !== paper.matches) seeAgain();
  isResized = false;
  showView();
});

document.addEventListener("keydown", onKey);
document.addEventListener("input", (event) => event.target.id === "opacity" && setOpacity(Number(event.target.value)));
document.addEventListener("click", (event) => {
  const view = event.target.closest("[data-view]")?.dataset.view;
  if (view) VIEWS[view]();
});
document.addEventListener("submit", (event) => event.target.matches(".picker") && switchHeatmap(true));
document.addEventListener("htmx:configRequest", (event) => isNeedless(event) && event.preventDefault());
document.addEventListener("visibilitychange", () => follow(findings));
document.addEventListener("toggle", () => (isFolded() ? hideHeatmap() : showHeatmap()), true);
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "findings") {
    follow(findings);
    say(findings().dataset.say);
    wish.isOn = beginsOn();
  } else if (event.target.id === "heatmap") {
    say(event.target.dataset.mapSay);
  } else {
    return;
  }
  redraw();
});
setUpDial();
setUpPicker(redraw);
setUpReview();
setUpFocus();
setUpNeighbours();
setUpDeletion();
showHeatmap();
follow(findings);
