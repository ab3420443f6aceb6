/** `tslirp replay --anonymise`: writes the same run with other addresses and names, and without payload. */
import { unlinkSync } from "node:fs";
import { HostRandom } from "../host/random.ts";
import { anonymise } from "../record/anonymous/anonymise.ts";
import { RecordingReader, RecordingWriter } from "../record/file.ts";
import { replayFile } from "../record/run.ts";
import { crashText } from "../record/symptom.ts";
import { say } from "./output.ts";
import { type Rewriting, rewritten } from "./rewriting.ts";

/** Resolves with the exit status: 0 when a replay of the new file behaves as recorded, 1 when it differs. */
export async function anonymiseCommand(file: string, given: Rewriting): Promise<number> {
  const output = rewritten("--anonymise", file, "anon", given);
  const reader = new RecordingReader(file);
  let writer: RecordingWriter | null = null;
  try {
    const result = await anonymise(reader, new HostRandom(), {
      begin: (header) => {
        writer = new RecordingWriter(output, header);
      },
      entry: (entry) => writer!.entry(entry),
    });
    const bytes = writer!.close();
    writer = null;
    const { difference, crash } = await replayFile(output);
    if (
      difference !== null ||
      (crash === null ? null : crashText(crash)) !== (result.crash && crashText(result.crash))
    ) {
      unlinkSync(output);
      throw new Error(`cannot make ${file} anonymous: ${difference?.message ?? crash?.message ?? "no crash"}`);
    }
    const { addresses, macs, names, entries, differs } = result;
    const lines = [
      `${addresses} addresses, ${macs} MACs and ${names} words of names have become others; payload is left out.`,
      `${entries} entries, ${bytes} bytes.`,
    ];
    if (reader.broken !== null) lines.unshift(`The file is broken behind what is used: ${reader.broken}.`);
    if (differs !== null)
      lines.push(`From the recording's entry ${differs} on the network does something else than it had done.`);
    say(`${lines.join("\n")}\ntslirp replay ${output}\n`);
    return differs === null ? 0 : 1;
  } catch (error) {
    (writer as RecordingWriter | null)?.discard();
    throw error;
  }
}
