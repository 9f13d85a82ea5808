// Joins one viewport to all others that use the same key: what a viewer's extension for Nun-db does.
//
// Three keys say what everybody looks at: KEY-modeOpen (the address of the opened study), KEY-camera (the camera as
// cornerstone gives it) and KEY-currentImageIdIndex. Each change here is set there at once, without waiting for the
// answer, camera before index; each change there is shown here. What was just shown is never sent back.
import { Enums } from '@cornerstonejs/core';
import { connect } from 'nun-db-react';
import React from 'react';

const { CAMERA_MODIFIED, STACK_NEW_IMAGE } = Enums.Events;

/**
 * Starts the synchronisation of a stack viewport.
 *
 * `openStudy(address)` is called when another viewer opened a study, `onNote(kind, details)` for every change that was
 * `sent`, `received`, `applied` or `refused`. Returns the Nun-db client, and `setRemoteControl(isOn)`: off, this viewer neither leads
 * nor follows.
 */
export function synchronise({ viewport, address, openStudy, onNote }) {
  const { url, db, user, token, key } = window.config.nunDb;
  const nunDb = connect(React, url, db, user, token, true);
  const { element } = viewport;
  let isOn = true;
  let isOpen = false;
  let following = 0; // how many changes of others are being shown right now
  let lastCamera = null; // of another viewer

  function send(name, value) {
    if (!isOn || following > 0) return;
    onNote('sent', { name, value });
    nunDb.set(`${key}-${name}`, value).catch((error) => onNote('refused', { name, error: String(error?.message) }));
  }

  function follow(name, show) {
    return nunDb.watch(`${key}-${name}`, async ({ value }) => {
      if (!isOn) return;
      onNote('received', { name, value });
      following += 1;
      try {
        await show(value);
        onNote('applied', { name, value });
      } finally {
        following -= 1;
      }
    });
  }

  const sendIndex = () => send('currentImageIdIndex', { currentImageIdIndex: viewport.getCurrentImageIdIndex() });

  function showCamera(camera) {
    lastCamera = camera;
    viewport.setCamera(camera);
    viewport.render();
  }

  async function showIndex({ currentImageIdIndex }) {
    await viewport.setImageIdIndex(currentImageIdIndex);
    // A new image moves the camera along the stack; the other viewer's camera is the one that counts.
    if (lastCamera) viewport.setCamera(lastCamera);
    viewport.render();
  }

  element.addEventListener(CAMERA_MODIFIED, ({ detail }) => {
    if (!isOpen) return;
    send('camera', detail.camera);
    sendIndex();
  });
  element.addEventListener(STACK_NEW_IMAGE, () => isOpen && sendIndex());

  follow('modeOpen', (opened) => opened !== address() && openStudy(opened));
  send('modeOpen', address());

  return {
    nunDb,
    /** The viewport shows its study: from now on it leads and follows. */
    open() {
      isOpen = true;
      return Promise.all([follow('currentImageIdIndex', showIndex), follow('camera', showCamera)]);
    },
    /** Another study is opened here: everybody opens it. */
    sendStudy: () => send('modeOpen', address()),
    setRemoteControl(isWanted) {
      isOn = isWanted;
    },
  };
}
