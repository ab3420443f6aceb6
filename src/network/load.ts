/**
 * Loads the code that networks are made of when the first network is made. Otherwise most of the library's import
 * would be the compilation of code that a program may not need in this run, or not yet.
 */
type Code = typeof import("./loaded.ts");

let code: Code | null = null;

export async function loadCode(): Promise<Code> {
  return (code ??= await import("./loaded.ts"));
}

/** The code, for those who can only be called once a network has been made. */
export function loadedCode(): Code {
  if (code === null) throw new Error("a network is made by createNetwork");
  return code;
}
