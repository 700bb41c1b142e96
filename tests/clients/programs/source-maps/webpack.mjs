// An older webpack plugin of Sentry, which drives sentry-cli 2.
import { sentryWebpackPlugin } from "@sentry/webpack-plugin";
import webpack from "webpack";

const plugin = sentryWebpackPlugin({ telemetry: false, release: { name: process.env.RELEASE, setCommits: false } });
const output = { path: process.env.OUTPUT, filename: "app.min.js" };
webpack(
  { mode: "production", devtool: "source-map", entry: "./src/index.js", output, plugins: [plugin] },
  (error, stats) => {
    console.log(error || stats.toString("minimal"));
    process.exit(error || stats.hasErrors() ? 1 : 0);
  },
);
