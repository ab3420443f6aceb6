/** How the tests start the command line. */
/**
 * Made by Vitest's set-up; a program that is no test (the soak) makes its own, for its children, too. What makes it is imported
 * only then, since programs of the tests' own import this file.
 */
const folder = (process.env.TSLIRP_BUILT ??= await (await import("./built.ts")).build());

/** Node's arguments for it as it is installed, with an absolute path. */
export const PROGRAM: readonly string[] = [`${folder}/dist/cli/main.js`];

/** Node's arguments for its sources, in the repository, as `npm start` has them. */
export const SOURCES: readonly string[] = ["--import", "tsx", "src/cli/main.ts"];

/** Node's arguments for one of the tests' own programs, by its name among those that `built.ts` makes. */
export function helper(name: string): readonly string[] {
  return [`${folder}/support/${name}.js`];
}
