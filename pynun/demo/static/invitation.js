// Shows where others can join: the addresses, and one of them as a QR code, with a button that copies it.

import { encode } from './uqr.mjs';

const QUIET_ZONE = 4; // modules, as ISO/IEC 18004 asks for
const COPIED_MS = 2000;
const SVG = 'http://www.w3.org/2000/svg';

export class Invitation {
  #list;
  #scan;
  #code;
  #picked = null;

  constructor({ list, scan, code, copy }) {
    this.#list = list;
    this.#scan = scan;
    this.#code = code;
    let timer = 0;
    copy.addEventListener('click', async () => {
      copy.textContent = (await this.#copy()) ? 'Copied' : 'Press Ctrl+C';
      clearTimeout(timer);
      timer = setTimeout(() => {
        copy.textContent = 'Copy';
      }, COPIED_MS);
    });
  }

  show(urls) {
    this.#list.replaceChildren(...urls.map((url) => this.#entry(url, urls.length > 1)));
    this.#scan.hidden = urls.length === 0;
    if (urls.length) this.#pick(this.#list.firstElementChild.firstElementChild);
  }

  #entry(url, isChoice) {
    const item = document.createElement('li');
    const address = document.createElement(isChoice ? 'button' : 'span');
    address.className = 'address';
    address.textContent = url;
    if (isChoice) {
      address.type = 'button';
      address.title = 'Show the QR code of this address';
      address.addEventListener('click', () => this.#pick(address));
    }
    item.append(address);
    return item;
  }

  #pick(address) {
    this.#picked = address;
    for (const button of this.#list.querySelectorAll('button')) button.setAttribute('aria-pressed', String(button === address));
    const { size, data } = encode(address.textContent, { border: QUIET_ZONE });
    const dark = data.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x} ${y}h1v1h-1z`] : [])));
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', dark.join(''));
    this.#code.setAttribute('viewBox', `0 0 ${size} ${size}`);
    this.#code.setAttribute('aria-label', `QR code of ${address.textContent}`);
    this.#code.replaceChildren(path);
  }

  /** Whether the address is on the clipboard now; else it is selected. */
  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#picked.textContent); // only pages from this machine or over TLS may
      return true;
    } catch {
      getSelection().selectAllChildren(this.#picked);
      return document.execCommand('copy');
    }
  }
}
