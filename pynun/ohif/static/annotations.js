// Measurements and annotations in step: made, changed, removed, and by whom.
//
// Each is a topic of its own, `annotation-UID`. As keys can't be watched before they are known, whoever makes one also
// touches the topic `annotations`; the others then list what there is. The viewer's own lines (crosshairs, reference
// lines) are nobody's, and what the viewer computes (lengths, areas) every viewer computes itself.

import { complain } from './complaints.js';
import { cleanName } from './names.js';

const PREFIX = 'annotation-';
const CALL = 'annotations';
const OWN_TOOLS = /ReferenceLines|Crosshairs|ScaleOverlay|OrientationMarker|Overlay/;
const UID = /^[0-9A-Za-z._-]{1,80}$/;
const ANNOTATIONS_MAX = 500;

export class Annotations {
  #viewer;
  #sync;
  #ours = new Map(); // by uid: the text that was last sent or shown
  #marked = new Set();
  #isShowing = false;

  constructor(viewer, sync) {
    this.#viewer = viewer;
    this.#sync = sync;
    const { eventTarget } = viewer.core;
    const { Events } = viewer.tools.Enums;
    const mark = ({ detail }) => this.#mark(detail.annotation);
    viewer.listen(eventTarget, Events.ANNOTATION_COMPLETED, mark);
    viewer.listen(eventTarget, Events.ANNOTATION_MODIFIED, mark);
    viewer.listen(eventTarget, Events.ANNOTATION_REMOVED, ({ detail }) => this.#takeRemoval(detail.annotation));
    sync.room.join(CALL, { isEphemeral: true, weight: 80, onValue: () => this.look() });
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
    for (const uid of this.#ours.keys()) this.#show(uid);
  }

  /** Once a frame: sends what was changed here. */
  frame() {
    const marked = this.#marked;
    this.#marked = new Set();
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
    if (text === this.#ours.get(uid)) return;
    // Computing what it measures changes an annotation, too; only a hand changes its points.
    if (!this.#sync.maySend('annotations') || !this.#sync.hand.isRecent()) return;
    const isNew = !this.#sync.room.has(PREFIX + uid);
    this.#ours.set(uid, text);
    this.#join(uid);
    this.#sync.room.set(PREFIX + uid, value);
    if (isNew) this.#sync.room.set(CALL, uid);
  }

  #read({ metadata, data, isLocked, isVisible }) {
    const { toolName, FrameOfReferenceUID, viewPlaneNormal, viewUp, cameraFocalPoint, referencedImageId } = metadata;
    const { points, textBox } = data.handles ?? {};
    return {
      by: this.#sync.find(this.#sync.me).name,
      tool: toolName,
      frame: FrameOfReferenceUID,
      plane: numbers([viewPlaneNormal, viewUp, cameraFocalPoint]),
      image: referencedImageId ? this.#imageName(referencedImageId) : null,
      points: numbers(points ?? []),
      polyline: data.contour?.polyline ? numbers(data.contour.polyline) : null,
      isClosed: data.contour?.closed ?? null,
      box: textBox?.hasMoved ? numbers([textBox.worldPosition])[0] : null,
      label: String(data.label ?? data.text ?? ''),
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
    // Leaving a study removes all annotations from the viewer; that is nobody's wish.
    if (this.#viewer.study() === null || !this.#sync.maySend('annotations') || !this.#sync.hand.isRecent()) return;
    this.#ours.delete(uid);
    this.#sync.room.leave(PREFIX + uid);
    this.#sync.room.remove(PREFIX + uid);
    this.#sync.room.set(CALL, uid);
  }

  #drop(uid) {
    this.#ours.delete(uid);
    this.#sync.room.leave(PREFIX + uid);
    if (this.#sync.isFollowing('annotations') && this.#find(uid)) {
      this.#quietly(() => this.#viewer.tools.annotation.state.removeAnnotation(uid));
    }
    this.#render();
  }

  #show(uid) {
    const value = this.#sync.room.known(PREFIX + uid)?.value;
    if (!isAnnotation(value) || !this.#sync.isFollowing('annotations') || this.#viewer.study() === null) return;
    const text = JSON.stringify({ ...value, by: null });
    const there = this.#find(uid);
    if (there && text === this.#ours.get(uid)) return;
    const viewport = this.#viewer
      .panes()
      .map((pane) => this.#viewer.viewport(pane))
      .find((one) => one?.getFrameOfReferenceUID?.() === value.frame);
    if (!viewport) return; // shown when its study is
    this.#ours.set(uid, text);
    this.#quietly(() => {
      if (there) this.#update(there, value, viewport.element);
      else this.#add(uid, value, viewport);
    });
    this.#render();
  }

  #add(uid, value, viewport) {
    const [viewPlaneNormal, viewUp, cameraFocalPoint] = value.plane;
    const referencedImageId = this.#imageId(value.image);
    const { state, config } = this.#viewer.tools.annotation;
    const annotation = {
      annotationUID: uid,
      highlighted: false,
      invalidated: true,
      isLocked: value.isLocked === true,
      isVisible: value.isVisible !== false,
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
    this.#fill(annotation, value);
    state.addAnnotation(annotation, viewport.element);
    const colour = this.#sync.find(this.#sync.room.known(PREFIX + uid)?.from)?.colour;
    if (colour) config.style.setAnnotationStyles(uid, { color: rgb(colour) });
  }

  #update(annotation, value, element) {
    this.#fill(annotation, value);
    annotation.invalidated = true;
    this.#viewer.tools.annotation.state.triggerAnnotationModified?.(annotation, element);
  }

  #fill(annotation, { points, polyline, isClosed, box, label, by, isVisible, isLocked }) {
    const { data } = annotation;
    data.handles.points = points.map((point) => [...point]);
    if (polyline)
      data.contour = { ...data.contour, polyline: polyline.map((point) => [...point]), closed: isClosed === true };
    if (box) data.handles.textBox = { ...data.handles.textBox, hasMoved: true, worldPosition: [...box] };
    const shown = cleanText(label);
    data.label = shown;
    if ('text' in data || annotation.metadata.toolName === 'ArrowAnnotate') data.text = shown;
    annotation.isVisible = isVisible !== false;
    annotation.isLocked = isLocked === true;
    annotation.madeBy = cleanName(by);
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
  const isPoint = (point) => Array.isArray(point) && point.length === 3 && point.every(Number.isFinite);
  return (
    typeof value?.tool === 'string' &&
    /^\w{1,40}$/.test(value.tool) &&
    typeof value.frame === 'string' &&
    Array.isArray(value.plane) &&
    Array.isArray(value.points) &&
    value.points.length <= 1000 &&
    value.points.every(isPoint) &&
    (value.polyline === null ||
      (Array.isArray(value.polyline) && value.polyline.length <= 5000 && value.polyline.every(isPoint))) &&
    (value.box === null || isPoint(value.box))
  );
}
