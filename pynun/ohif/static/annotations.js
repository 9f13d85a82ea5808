// Measurements and annotations in step: made, changed, removed, and by whom.
//
// Each is a topic of its own, `annotation-UID`. As keys can't be watched before they are known, a viewer that makes one
// also touches the topic `annotations`; the others then list what there is. The viewer's own lines (crosshairs,
// reference lines) are nobody's, and what the viewer computes (lengths, areas, a spline's curve) every viewer computes
// itself.

import { Authors } from './authors.js';
import { complain } from './complaints.js';
import { cleanName, isColour } from './names.js';
import { guarded } from './viewer.js';
import { isPoint } from './views.js';

const PREFIX = 'annotation-';
const CALL = 'annotations';
const OWN_TOOLS = /ReferenceLines|Crosshairs|ScaleOverlay|OrientationMarker|Overlay/;
const UID = /^[0-9A-Za-z._-]{1,80}$/;
const ANNOTATIONS_MAX = 500;
const CONTOUR_POINTS_MAX = 1000;
const LEAVING_MS = 300;

export class Annotations {
  #viewer;
  #sync;
  #ours = new Map(); // by uid: the text that was last sent or shown
  #authors;
  #marked = new Set();
  #waiting = new Set();
  #isShowing = false;
  #disabledAt = -Infinity;
  #removed = new Set(); // while what others do is not shown here

  constructor(viewer, sync) {
    this.#viewer = viewer;
    this.#sync = sync;
    const { eventTarget } = viewer.core;
    const { Events } = viewer.tools.Enums;
    const { ChangeTypes } = viewer.tools.Enums;
    this.#authors = new Authors(viewer);
    viewer.listen(eventTarget, Events.ANNOTATION_COMPLETED, ({ detail }) => this.#mark(detail.annotation));
    viewer.listen(eventTarget, Events.ANNOTATION_MODIFIED, ({ detail: { annotation, changeType } }) => {
      if (changeType !== ChangeTypes.StatsUpdated) this.#mark(annotation);
    });
    viewer.listen(eventTarget, Events.ANNOTATION_REMOVED, ({ detail }) => this.#takeRemoval(detail.annotation));
    viewer.listen(eventTarget, viewer.core.Enums.Events.ELEMENT_DISABLED, () => {
      this.#disabledAt = performance.now();
    });
    // Labels, locks and visibility, as the list of measurements changes them.
    viewer.subscribe(viewer.services.measurementService, ['MEASUREMENT_UPDATED'], ({ measurement }) =>
      this.#mark(this.#find(measurement?.uid)),
    );
    sync.room.join(CALL, {
      isEphemeral: true,
      isSignal: true,
      weight: 80,
      onValue: (value, { from }) => {
        sync.tell(value?.isRemoved === true ? 'removed' : 'made', from);
        this.look();
      },
    });
  }

  /** Looks which ones the room has. */
  look() {
    if (!this.#sync.isShared('annotations')) return;
    this.#sync.room.list(PREFIX, (names) => {
      for (const name of names.slice(0, ANNOTATIONS_MAX)) this.#join(name.slice(PREFIX.length));
    });
  }

  /** Shows what the room has. */
  follow() {
    for (const uid of [...this.#removed]) this.#drop(uid);
    for (const uid of this.#ours.keys()) this.#show(uid);
  }

  /** Once a frame: sends what was changed here. */
  frame() {
    const [marked, waiting] = [this.#marked, this.#waiting];
    this.#marked = new Set();
    this.#waiting = new Set();
    for (const uid of waiting) this.#show(uid);
    for (const uid of marked) {
      const annotation = this.#find(uid);
      if (annotation) this.#send(annotation);
    }
  }

  #find(uid) {
    return this.#viewer.tools.annotation.state.getAnnotation(uid);
  }

  #join(uid) {
    if (!UID.test(uid) || this.#sync.room.has(PREFIX + uid)) return;
    if (!this.#ours.has(uid)) this.#ours.set(uid, '');
    this.#sync.room.join(PREFIX + uid, {
      weight: 8,
      isRemovable: true,
      onValue: () => this.#show(uid),
      onGone: () => this.#drop(uid),
    });
  }

  #isOwn(annotation) {
    const { metadata, annotationUID, data } = annotation ?? {};
    // A contour of a segmentation belongs to that.
    return (
      !metadata?.FrameOfReferenceUID ||
      OWN_TOOLS.test(metadata.toolName) ||
      !UID.test(annotationUID) ||
      Boolean(data?.segmentation)
    );
  }

  #mark(annotation) {
    if (this.#isShowing || this.#isOwn(annotation)) return;
    this.#marked.add(annotation.annotationUID);
    this.#sync.plan();
  }

  #send(annotation) {
    const uid = annotation.annotationUID;
    const value = this.#read(annotation);
    const text = JSON.stringify({ ...value, by: null });
    // A line that is only begun has no points yet; the viewers' tools can't draw it.
    if (text === this.#ours.get(uid) || value.polyline?.length < 2) return;
    // Computing what it measures changes an annotation, too; only a hand changes its points.
    if (!this.#sync.maySend('annotations') || !this.#sync.hand.isRecent()) return;
    const isNew = !this.#sync.room.has(PREFIX + uid);
    this.#ours.set(uid, text);
    this.#join(uid);
    this.#sync.room.set(PREFIX + uid, value);
    this.#authors.forget(uid);
    if (isNew) this.#sync.room.set(CALL, { uid });
  }

  #read({ metadata, data, isLocked, isVisible }) {
    const { name, colour } = this.#sync.find(this.#sync.me);
    const { toolName, FrameOfReferenceUID, viewPlaneNormal, viewUp, cameraFocalPoint, referencedImageId } = metadata;
    const { points, textBox } = data.handles ?? {};
    return {
      by: { name, colour },
      tool: toolName,
      frame: FrameOfReferenceUID,
      plane: numbers([viewPlaneNormal, viewUp, cameraFocalPoint]),
      image: referencedImageId ? this.#imageName(referencedImageId) : null,
      points: numbers(points ?? []),
      spline: data.spline?.type ?? null,
      polyline: data.contour?.polyline && !data.spline ? thinned(data.contour.polyline) : null,
      isClosed: data.contour?.closed ?? null,
      openShape: data.isOpenUShapeContour ?? null,
      box: textBox?.hasMoved ? numbers([textBox.worldPosition])[0] : null,
      label: cleanText(data.label || data.text),
      isLocked: Boolean(isLocked),
      isVisible: isVisible !== false,
    };
  }

  #imageName(imageId) {
    return this.#viewer.core.metaData.get('sopCommonModule', imageId)?.sopInstanceUID ?? null;
  }

  /** Our own address of an image. */
  #imageId(name) {
    if (!name) return undefined;
    for (const set of this.#viewer.services.displaySetService.getActiveDisplaySets()) {
      const image = (set.images ?? set.instances ?? []).find(({ SOPInstanceUID }) => SOPInstanceUID === name);
      if (image?.imageId) return image.imageId;
    }
    return undefined;
  }

  #takeRemoval(annotation) {
    const uid = annotation?.annotationUID;
    if (this.#isShowing || this.#isOwn(annotation) || !this.#ours.has(uid)) return;
    if (!this.#sync.maySend('annotations') || !this.#sync.hand.isRecent()) return;
    // Leaving a study removes all annotations from the viewer, and then its panes; that is nobody's wish.
    const study = this.#viewer.study();
    const removedAt = performance.now();
    const decide = () => {
      const hasLeft = this.#viewer.study() !== study || this.#disabledAt > removedAt - LEAVING_MS;
      if (study !== null && !hasLeft && !this.#find(uid)) this.#remove(uid);
    };
    setTimeout(guarded(decide), LEAVING_MS);
  }

  #remove(uid) {
    if (!this.#ours.delete(uid)) return;
    this.#sync.room.leave(PREFIX + uid);
    this.#sync.room.remove(PREFIX + uid);
    this.#authors.forget(uid);
    this.#sync.room.set(CALL, { uid, isRemoved: true });
  }

  #drop(uid) {
    this.#ours.delete(uid);
    this.#authors.forget(uid);
    this.#removed.delete(uid);
    this.#sync.room.leave(PREFIX + uid);
    if (!this.#find(uid)) return;
    if (!this.#sync.isFollowing('annotations')) {
      this.#removed.add(uid);
      return;
    }
    this.#quietly(() => this.#viewer.tools.annotation.state.removeAnnotation(uid));
    this.#render();
  }

  #show(uid) {
    const value = this.#sync.room.known(PREFIX + uid)?.value;
    if (!isAnnotation(value) || !this.#sync.isFollowing('annotations') || this.#viewer.study() === null) return;
    const text = JSON.stringify({ ...value, by: null });
    const there = this.#find(uid);
    if (there && text === JSON.stringify({ ...this.#read(there), by: null })) return;
    const viewport = this.#viewer
      .panes()
      .map((pane) => this.#viewer.viewport(pane))
      .find((one) => one?.getFrameOfReferenceUID?.() === value.frame);
    if (!viewport) {
      this.#waiting.add(uid); // for a pane that can show it
      return;
    }
    this.#ours.set(uid, text);
    this.#quietly(() => {
      if (there) this.#update(there, value, viewport.element);
      else this.#add(uid, value, viewport);
      const { state, visibility, locking, config } = this.#viewer.tools.annotation;
      if (!state.getAnnotation(uid)) return;
      visibility.setAnnotationVisibility(uid, value.isVisible !== false);
      locking.setAnnotationLocked(uid, value.isLocked === true);
      if (!isColour(value.by?.colour)) return;
      config.style.setAnnotationStyles(uid, { color: rgb(value.by.colour) });
      this.#authors.set(uid, cleanName(value.by.name, '?'), value.by.colour);
    });
    this.#render();
  }

  #add(uid, value, viewport) {
    const [viewPlaneNormal, viewUp, cameraFocalPoint] = value.plane;
    const referencedImageId = this.#imageId(value.image);
    const annotation = {
      annotationUID: uid,
      highlighted: false,
      invalidated: true,
      isLocked: false,
      isVisible: true,
      metadata: {
        toolName: value.tool,
        FrameOfReferenceUID: value.frame,
        viewPlaneNormal,
        viewUp,
        cameraFocalPoint,
        ...(referencedImageId ? { referencedImageId } : {}),
      },
      data: {
        label: '',
        handles: { points: [], textBox: { hasMoved: false }, activeHandleIndex: null },
        cachedStats: {},
      },
    };
    if (value.spline !== null && !this.#makeSpline(annotation, value.spline)) return;
    this.#fill(annotation, value);
    this.#viewer.tools.annotation.state.addAnnotation(annotation, viewport.element);
  }

  /** A spline is drawn by an object of the viewer's own tool: false if this viewer has none. */
  #makeSpline(annotation, type) {
    const { toolGroupService: groups } = this.#viewer.services;
    const { toolName } = annotation.metadata;
    const id = groups.getToolGroupIds().find((one) => groups.getToolGroup(one)?.hasTool?.(toolName));
    const tool = id && groups.getToolGroup(id).getToolInstance(toolName);
    if (!tool?.createSplineObjectFromType) return false;
    tool.createSplineObjectFromType(annotation, type);
    annotation.data.contour = { polyline: [], closed: false };
    return true;
  }

  #update(annotation, value, element) {
    this.#fill(annotation, value);
    annotation.invalidated = true;
    this.#viewer.tools.annotation.state.triggerAnnotationModified?.(annotation, element);
  }

  #fill(annotation, { points, polyline, isClosed, openShape, box, label }) {
    const { data } = annotation;
    data.handles.points = points.map((point) => [...point]);
    if (polyline) data.contour = { ...data.contour, polyline: polyline.map((point) => [...point]) };
    if (data.contour) data.contour.closed = isClosed === true;
    if (openShape !== null) data.isOpenUShapeContour = openShape;
    if (box) data.handles.textBox = { ...data.handles.textBox, hasMoved: true, worldPosition: [...box] };
    const shown = cleanText(label);
    data.label = shown;
    if ('text' in data || annotation.metadata.toolName === 'ArrowAnnotate') data.text = shown;
  }

  /** What this does is not ours. */
  #quietly(change) {
    this.#isShowing = true;
    try {
      change();
    } catch (error) {
      complain('an annotation could not be shown', error);
    } finally {
      this.#isShowing = false;
    }
  }

  #render() {
    const ids = this.#viewer.panes().map(({ viewportId }) => viewportId);
    this.#viewer.tools.utilities.triggerAnnotationRenderForViewportIds(ids);
  }
}

const numbers = (points) =>
  points.map((point) => (point ? Array.from(point, (number) => Math.round(number * 1e4) / 1e4 || 0) : null));

/** A line drawn by hand has several points in a pixel; so many show no difference, and go into a message. */
function thinned(points) {
  const step = Math.ceil(points.length / CONTOUR_POINTS_MAX);
  const kept = points.filter((_, index) => index % step === 0 || index === points.length - 1);
  return kept.map((point) => Array.from(point, (number) => Math.round(number * 1e3) / 1e3 || 0));
}

const cleanText = (text) =>
  String(text ?? '')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
    .slice(0, 200);

function rgb(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16));
  return `rgb(${red}, ${green}, ${blue})`;
}

/** Whether a value of another browser is an annotation: it may be anything. */
function isAnnotation(value) {
  return (
    typeof value?.tool === 'string' &&
    /^\w{1,40}$/.test(value.tool) &&
    typeof value.frame === 'string' &&
    Array.isArray(value.plane) &&
    Array.isArray(value.points) &&
    value.points.length <= 1000 &&
    value.points.every(isPoint) &&
    (value.spline === null || (typeof value.spline === 'string' && /^\w{1,20}$/.test(value.spline))) &&
    [null, true, false, 'lineSegment', 'orthogonalT'].includes(value.openShape) &&
    (value.polyline === null ||
      (Array.isArray(value.polyline) &&
        value.polyline.length >= 2 &&
        value.polyline.length <= 2 * CONTOUR_POINTS_MAX && value.polyline.every(isPoint))) &&
    (value.box === null || isPoint(value.box))
  );
}
