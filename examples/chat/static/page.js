/** Small things that every part of the page needs. */

const SHOWN = 8000;

/** @param {string} id */
export const byId = (id) => document.getElementById(id);

/** An element with properties and children; texts become texts, never markup. */
export function make(tag, properties = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Ask the application; who is not signed in any more goes to the door. */
export async function getJson(address, options) {
  const response = await fetch(address, options);
  if (response.status === 401) location.assign("/login");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(typeof answer.detail === "string" ? answer.detail : `The server said ${response.status}.`);
  return answer;
}

/** Tell something, for a while. */
export function toast({ title, message, level = "info" }) {
  const close = make("button", { type: "button", textContent: "×", ariaLabel: "Dismiss" });
  const text = make("div", {}, [make("b", { textContent: title ?? "" }), message]);
  const shown = make("div", { className: `toast ${level}` }, [text, close]);
  close.addEventListener("click", () => shown.remove());
  byId("toasts").append(shown);
  setTimeout(() => shown.remove(), SHOWN);
}
