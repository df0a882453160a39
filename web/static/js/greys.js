// How the film's greys are shown: window and level, as a reading room calls contrast and brightness, and turned over.
// Of the picture that the page has, in its 256 greys, and before it is drawn: the heatmap keeps its colours.

const WHITE = 255;
const FIRST = { width: WHITE, level: WHITE / 2, isInverted: false };
const NARROWEST = 8;
const WIDEST = 2 * WHITE;
const wish = { ...FIRST };

/** The window's width and its middle, each moved by so many greys; false where both are at their end. */
export function moveWindow(wider, higher) {
  const { width, level } = wish;
  wish.width = clamp(width + wider, NARROWEST, WIDEST);
  wish.level = clamp(level + higher, 0, WHITE);
  return wish.width !== width || wish.level !== level;
}

/** Turn them over; true where they are now. */
export function invert() {
  wish.isInverted = !wish.isInverted;
  return wish.isInverted;
}

/** As they came. */
export function resetGreys() {
  Object.assign(wish, FIRST);
}

/** What was wished, to compare with what was painted. */
export function describeWish() {
  return Object.values(wish).join(" ");
}

/** Width and level as they stand beside the film; empty while all greys are shown as they came. */
export function describeWindow() {
  const { width, level } = wish;
  return width === FIRST.width && level === FIRST.level ? "" : `W ${Math.round(width)} L ${Math.round(level)}`;
}

/**
 * Spread the greys from `level - width / 2` to `level + width / 2` over all 256, the rest black or white, then turn them
 * over where that is wished. By blending whole rectangles, which takes a fraction of the time of going through pixels.
 */
export function paint(context) {
  const fill = (operation, grey) => {
    context.globalCompositeOperation = operation;
    context.fillStyle = `rgb(${Math.round(grey)} ${Math.round(grey)} ${Math.round(grey)})`;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  };
  const { width, level, isInverted } = wish;
  const squeeze = Math.min(1, WHITE / width); // first, so that what is added stays within white
  const low = squeeze * (level - width / 2);
  if (squeeze < 1) fill("multiply", squeeze * WHITE);
  if (low < 0) fill("lighter", -low);
  if (low > 0) {
    fill("difference", WHITE);
    fill("lighter", low);
    fill("difference", WHITE);
  }
  if (width < WHITE) fill("color-dodge", WHITE - width);
  if (isInverted) fill("difference", WHITE);
  context.globalCompositeOperation = "source-over";
}

function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}
