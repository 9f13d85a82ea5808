// What one pane shows of its series, as a plain object: camera, image, window, colours. Read from a viewport,
// compared, and set on another one, whatever the size of its window.

const DIGITS = 1e4;

const round = (number) => Math.round(number * DIGITS) / DIGITS || 0;
const rounded = (point) => Array.from(point, round);

/** Whether two views are the same to a thousandth; `undefined` is like no other. */
export function isSame(one, other) {
  if (one === other) return true;
  if (typeof one === 'number' && typeof other === 'number') {
    return Math.abs(one - other) <= 1e-3 * Math.max(1, Math.abs(one) / 100);
  }
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => isSame(one[name], other[name]));
}

/** Whether a value of another browser is a place or direction: it may be anything. */
export const isPoint = (value) => Array.isArray(value) && value.length === 3 && value.every(Number.isFinite);

function kindOf(viewport) {
  if (viewport.type === 'stack') return 'stack';
  return viewport.type === 'volume3d' ? '3d' : 'volume';
}

/** What a viewport shows. `core` is cornerstone. */
export function readView(core, viewport, series) {
  const camera = viewport.getCamera();
  const kind = kindOf(viewport);
  const view = {
    kind,
    series,
    frame: viewport.getFrameOfReferenceUID?.() ?? null,
    camera: {
      focalPoint: rounded(camera.focalPoint),
      position: rounded(camera.position),
      viewUp: rounded(camera.viewUp),
      viewPlaneNormal: rounded(camera.viewPlaneNormal),
      parallelScale: round(camera.parallelScale),
      flipHorizontal: Boolean(camera.flipHorizontal),
      flipVertical: Boolean(camera.flipVertical),
    },
  };
  if (kind === 'stack') view.image = imageName(core, viewport.getCurrentImageId());
  const { voiRange, invert, colormap } = viewport.getProperties?.() ?? {};
  if (voiRange && kind !== '3d') view.window = { lower: round(voiRange.lower), upper: round(voiRange.upper) };
  if (kind !== '3d') {
    view.invert = Boolean(invert);
    view.colormap = colormap?.name ?? null;
  }
  return view;
}

/** An image by its own name: the address of its server may differ from viewer to viewer. */
function imageName(core, imageId) {
  const uid = core.metaData.get('sopCommonModule', imageId)?.sopInstanceUID ?? imageId;
  const frame = /[?&]frame=([0-9]+)|\/frames\/([0-9]+)/.exec(imageId ?? '');
  return frame && Number(frame[1] ?? frame[2]) > 1 ? `${uid}/${frame[1] ?? frame[2]}` : uid;
}

/** Whether a view can be shown in a viewport as it is: the same kind, the same series or the same space. */
export function fits(core, viewport, series, view) {
  if (kindOf(viewport) !== view.kind) return false;
  return view.kind === 'stack' ? series === view.series : viewport.getFrameOfReferenceUID?.() === view.frame;
}

/** Shows a view; resolves when the image is there. */
export async function showView(core, viewport, view) {
  if (view.kind === 'stack' && imageName(core, viewport.getCurrentImageId()) !== view.image) {
    const index = viewport.getImageIds().findIndex((imageId) => imageName(core, imageId) === view.image);
    if (index < 0) return;
    // The viewer's scrollbar and image number hear of it by this event, and wait for the image from then on.
    core.triggerEvent(viewport.element, core.Enums.Events.STACK_VIEWPORT_SCROLL, {
      newImageIdIndex: index,
      imageId: viewport.getImageIds()[index],
      direction: index - viewport.getCurrentImageIdIndex(),
    });
    await viewport.setImageIdIndex(index);
  }
  const { flipHorizontal, flipVertical, ...place } = view.camera;
  const now = viewport.getCamera();
  if (Boolean(now.flipHorizontal) !== flipHorizontal || Boolean(now.flipVertical) !== flipVertical) {
    viewport.setCamera({ flipHorizontal, flipVertical });
  }
  viewport.setCamera(place);
  const has = viewport.getProperties?.() ?? {};
  const properties = {};
  if (view.window && !isSame(view.window, { lower: has.voiRange?.lower, upper: has.voiRange?.upper })) {
    properties.voiRange = view.window;
  }
  if (view.invert !== undefined && Boolean(has.invert) !== view.invert) properties.invert = view.invert;
  if (view.colormap && has.colormap?.name !== view.colormap) properties.colormap = { name: view.colormap };
  if (Object.keys(properties).length > 0) viewport.setProperties(properties);
  viewport.render();
}
