// What the page's script tag loads: the whole SDK as one global.
export * from "@sentry/browser";
