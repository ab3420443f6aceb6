/**
 * The last words of a CI run: a line for each test that failed, with the reason, and one for each that held only at its second
 * try. Who reads no more than the end of a log knows where to look.
 */
import type { Reporter, TestCase, TestModule } from "vitest/node";

const LONGEST = 220;

/** The first line of what an error says, without the colours. */
function reason(message: string | undefined): string {
  const escapes = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g");
  return (message ?? "").replace(escapes, "").split("\n", 1)[0]!;
}

export default class Summary implements Reporter {
  readonly #lines: string[] = [];

  onTestCaseResult(test: TestCase): void {
    const where = `${test.module.relativeModuleId} > ${test.fullName}`;
    const result = test.result();
    if (result.state === "failed") this.#tell(`FAILED ${where}: ${reason(result.errors[0]?.message)}`);
    else if (test.diagnostic()?.flaky) this.#tell(`AT THE SECOND TRY ${where}: ${reason(result.errors?.[0]?.message)}`);
  }

  onTestModuleEnd(module: TestModule): void {
    for (const error of module.errors()) this.#tell(`FAILED ${module.relativeModuleId}: ${reason(error.message)}`);
  }

  onTestRunEnd(): void {
    for (const line of this.#lines) console.log(line);
  }

  #tell(line: string): void {
    this.#lines.push(line.slice(0, LONGEST));
  }
}
