/**
 * Escapes all but ASCII in a line of JSON: some characters end a line or reverse a display (U+2028, U+009B, U+202E).
 */
export function asciiJson(line: string): string {
  return line.replace(/[^ -~\n]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
