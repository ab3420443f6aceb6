import { readFileSync } from "node:fs";

/** What `build.ts` puts in its place, since what is built lies elsewhere. */
declare const TSLIRP_VERSION: string | undefined;

/** The package's version. */
export function version(): string {
  if (typeof TSLIRP_VERSION === "string") return TSLIRP_VERSION;
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  return manifest.version;
}
