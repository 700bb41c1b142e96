// The Vite plugin of Sentry reads organisation, project, token and address from the environment.
import { sentryVitePlugin } from "@sentry/bundler-plugins/vite";

const output = { entryFileNames: "app.min.js" };
export default {
  build: { sourcemap: true, outDir: process.env.OUTPUT, rollupOptions: { input: "src/index.js", output } },
  plugins: [sentryVitePlugin({ telemetry: false, release: { name: process.env.RELEASE, setCommits: false } })],
};
