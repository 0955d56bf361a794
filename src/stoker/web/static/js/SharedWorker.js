/**
 * One connection for a whole browser: this worker holds the hub, and each tab talks to it through a port.
 *
 * It is named `stoker …`; look at it in `chrome://inspect/#workers` or `about:debugging#workers`. What it logs is also
 * shown in the console of the first tab.
 */

import { BASE, makeLog, newId } from "./common.js";
import { Http } from "./rest.js";
import { Hub } from "./hub.js";

/** @typedef {import("./types").ToTab} ToTab */

const id = newId();
/** @type {Map<string, MessagePort>} */
const ports = new Map();

const hub = new Hub({
  http: new Http(BASE),
  instance: id,
  send,
  gone: (tab) => ports.delete(tab),
  gather: 0,
  log: makeLog("worker", (line, details) => {
    const first = hub.firstTab;
    if (first) send({ type: "log", line, details }, [first]);
  }),
});

/**
 * @param {ToTab} message
 * @param {string[]} tabs
 */
function send(message, tabs) {
  for (const tab of tabs) ports.get(tab)?.postMessage(message);
}

/** Held while this worker lives, so that tabs are told when it dies. @type {Promise<void>} */
const living = new Promise((resolve) => {
  if (!navigator.locks) return resolve();
  navigator.locks.request(id, () => {
    resolve();
    return new Promise(() => {});
  });
});

/** @type {any} */ (globalThis).onconnect = async (/** @type {MessageEvent} */ { ports: [port] }) => {
  await living;
  port.onmessage = ({ data }) => {
    ports.set(data.tab, port);
    hub.receive(data);
  };
  port.postMessage({ type: "welcome", lock: id });
};
