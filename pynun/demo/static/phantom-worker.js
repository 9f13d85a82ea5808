// Computes slices away from the page's own thread, which stays free for the hand. Asked for a number, answers with it.

import { computeSlice } from './phantom.js';

self.onmessage = ({ data: slice }) => {
  const densities = computeSlice(slice);
  self.postMessage({ slice, densities }, [densities.buffer]);
};
