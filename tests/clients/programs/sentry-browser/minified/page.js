// A page whose code is bundled and minified: what it throws names the source only through a source map.
import * as Sentry from "@sentry/browser";

import { addToBasket } from "./basket.js";

async function visit() {
  Sentry.init({ dsn: given.dsn, release: given.release, environment: "web" });
  try {
    addToBasket({ name: "basket", items: [] }, undefined);
  } catch (error) {
    const id = Sentry.captureException(error);
    await Sentry.flush(10000);
    return { id, stack: error.stack };
  }
}

window.visited = visit();
