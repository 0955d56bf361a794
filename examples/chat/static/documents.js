/** The documents of the user: what there is, adding more, and how far the reading is. */

import { byId, getJson, make, toast } from "./page.js";

export class Documents {
  #stoker;
  #followed = new Set();

  constructor(stoker) {
    this.#stoker = stoker;
    byId("files").addEventListener("change", ({ target }) => {
      const files = [...target.files];
      target.value = "";
      this.#add(files).catch((error) => toast({ level: "error", title: "Not added", message: error.message }));
    });
  }

  async show() {
    const known = await getJson("/documents");
    byId("none").hidden = known.length > 0;
    byId("known").replaceChildren(...known.map(({ title, state, error, passages }) =>
      make("li", { className: state }, [title, make("small", { textContent: error ?? (state === "indexed" ? `${passages} passages` : state) })]),
    ));
  }

  /** Show how far a job is that reads documents; once, however often it is told of. */
  follow(job) {
    if (this.#followed.has(job)) return;
    this.#followed.add(job);
    const bar = make("stoker-progress");
    bar.client = this.#stoker;
    bar.setAttribute("job", job);
    bar.addEventListener("end", () => {
      this.show();
      setTimeout(() => bar.remove(), 4000);
    });
    byId("builds").append(bar);
    byId("documents").open = true;
  }

  async #add(files) {
    const names = [];
    for (const file of files) {
      const { name } = await getJson(`/documents?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
      names.push(name);
    }
    if (!names.length) return;
    const headers = { "Content-Type": "application/json" };
    const { job } = await getJson("/documents/build", { method: "POST", headers, body: JSON.stringify({ names }) });
    this.follow(job);
  }
}
