// Computes slices outside the page's thread, which stays responsive. Gets a slice's number, replies with the slice.

import { computeSlice } from './phantom.js';

self.onmessage = ({ data: slice }) => {
  const densities = computeSlice(slice);
  self.postMessage({ slice, densities }, [densities.buffer]);
};
