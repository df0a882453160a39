// The film page: the film and its heatmap as two layers, their controls and keys. The film itself is never hidden.

import { follow, isNeedless } from "./follow.js";
import { setUpFocus, setUpPicker } from "./heatmap.js";
import { setUpNeighbours } from "./neighbours.js";
import { isTaken, say } from "./page.js";

const FULL_OPACITY = 65; // per cent that the drawn overlay has where the map is highest
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "reset", i: "invert", o: "heatmap" };
const holder = document.getElementById("viewer");
const words = document.getElementById("viewer-words");
const zoomWords = document.getElementById("zoom-words");
const mapLabel = document.getElementById("map-label");
const dialToggle = document.querySelector('[data-view="heatmap"]');
words.textContent = "Loading the film";
const wish = { opacity: 40, isOn: !("moot" in findings().dataset), isInverted: false };
const paper = matchMedia("print");
let boundsBefore = null;
let heatmap = null;
let heatmapUrl = ""; // of the map that is shown or on its way
let requests = 0; // how many maps were asked for; only the last one may be laid over the film

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
  slider.value = wish.opacity;
  slider.disabled = !wish.isOn;
  document.getElementById("opacity-words").textContent = wish.isOn ? `${wish.opacity} %` : "0 %";
  const toggle = document.getElementById("heatmap-toggle");
  toggle.setAttribute("aria-pressed", String(wish.isOn));
  toggle.textContent = wish.isOn ? "Heatmap on" : "Heatmap off";
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
  wish.isOn = !wish.isOn;
  showHeatmap();
  say(wish.isOn ? "Heatmap on" : "Heatmap off");
}

function hideHeatmap() {
  wish.isOn = false;
  showHeatmap();
}

function setOpacity(percent) {
  if (isFolded()) return;
  wish.opacity = Math.max(0, Math.min(FULL_OPACITY, percent));
  wish.isOn = true;
  showHeatmap();
}

/** Turn the film's greys over before it is drawn; the heatmap keeps its colours. */
async function invertFilm(event) {
  if (!wish.isInverted || event.tiledImage === heatmap) return;
  const context = await event.getData("context2d");
  context.globalCompositeOperation = "difference";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.globalCompositeOperation = "source-over";
  await event.setData(context, "context2d");
}

/** On paper all of the film; afterwards what was seen of it before. */
function showWholeOnPaper() {
  if (!viewer.world.getItemCount()) return;
  if (paper.matches) {
    boundsBefore = viewer.viewport.getBounds();
    viewer.viewport.goHome(true);
  } else {
    viewer.viewport.fitBounds(boundsBefore, true);
  }
}

const VIEWS = {
  in: () => viewer.viewport.zoomBy(1.4),
  out: () => viewer.viewport.zoomBy(1 / 1.4),
  reset: () => viewer.viewport.goHome(),
  invert: () => {
    wish.isInverted = !wish.isInverted;
    document.querySelector('[data-view="invert"]').setAttribute("aria-pressed", String(wish.isInverted));
    viewer.world.getItemAt(0).requestInvalidate(true);
  },
  heatmap: toggleHeatmap,
};

function onKey(event) {
  if (isTaken(event)) return;
  const view = KEYS[event.key];
  if (view && viewer.world.getItemCount()) VIEWS[view]();
  else if (event.key === "[") setOpacity(wish.opacity - 5);
  else if (event.key === "]") setOpacity(wish.opacity + 5);
}

viewer.addHandler("tile-invalidated", invertFilm);
viewer.addHandler("open", () => {
  words.textContent = "";
  changeHeatmap();
});
paper.addEventListener("change", showWholeOnPaper);
viewer.addHandler("resize", () => paper.matches && viewer.viewport.goHome(true));
viewer.addHandler("open-failed", () => (words.textContent = "The film cannot be shown; reload the page to try again."));
viewer.addHandler("canvas-key", (event) => {
  const key = event.originalEvent.key;
  event.preventDefaultAction = key in KEYS || "adsrfwADSRFW".includes(key); // OpenSeadragon's own letters
});
viewer.addHandler("update-viewport", () => {
  const item = viewer.world.getItemAt(0);
  if (item) zoomWords.textContent = `${Math.round(item.viewportToImageZoom(viewer.viewport.getZoom(true)) * 100)} %`;
});

document.addEventListener("keydown", onKey);
document.addEventListener("input", (event) => event.target.id === "opacity" && setOpacity(Number(event.target.value)));
document.addEventListener("click", (event) => {
  const view = event.target.closest("[data-view]")?.dataset.view;
  if (view && viewer.world.getItemCount()) VIEWS[view]();
  if (event.target.closest("#heatmap-toggle")) toggleHeatmap();
});
document.addEventListener("htmx:configRequest", (event) => isNeedless(event) && event.preventDefault());
document.addEventListener("visibilitychange", () => follow(findings));
document.addEventListener("toggle", () => (isFolded() ? hideHeatmap() : showHeatmap()), true);
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "findings") {
    follow(findings);
    say(findings().dataset.say);
    if ("moot" in findings().dataset) wish.isOn = false;
  } else if (event.target.id === "heatmap") {
    say(event.target.dataset.mapSay);
  } else {
    return;
  }
  redraw();
});
setUpPicker(redraw);
setUpFocus();
setUpNeighbours();
showHeatmap();
follow(findings);
