/** The elements `<stoker-progress>` and `<stoker-stream>`; see docs/browser.md. */

import type { EventsClient } from "./EventsClient";

declare class JobElement extends HTMLElement {
  /** Set it before the element is put into the page to use another client than `EventsClient.shared()`. */
  client: EventsClient | null;
}

/** How far the job in its attribute `job` is. Dispatches `end` (`CustomEvent<JobRecord | null>`). */
export class StokerProgress extends JobElement {}

/** What the job in its attribute `job` says. Dispatches `end` (`CustomEvent<JobRecord | null>`). */
export class StokerStream extends JobElement {
  /** Whether the newest line is kept in view. */
  following: boolean;
  /** Everything that is shown. */
  readonly text: string;
}

declare global {
  interface HTMLElementTagNameMap {
    "stoker-progress": StokerProgress;
    "stoker-stream": StokerStream;
  }
}
