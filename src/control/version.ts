import { readFileSync } from "node:fs";

/** `build.ts` replaces this by the version, since the built files are not beside package.json. */
declare const TSLIRP_VERSION: string | undefined;

/** The package's version. */
export function version(): string {
  if (typeof TSLIRP_VERSION === "string") return TSLIRP_VERSION;
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  return manifest.version;
}
