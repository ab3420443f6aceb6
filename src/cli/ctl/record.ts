/** `tslirp ctl record`. */
import path from "node:path";
import type { Command } from "commander";
import { ConfigError } from "../../control/errors.ts";
import { byDefault } from "./by-default.ts";
import type { ApiClient } from "./client.ts";
import { table } from "./table.ts";

interface State {
  readonly file: string;
  readonly payload: boolean;
  readonly began: string;
  readonly bytes: number;
}

export function recordCommands(
  ctl: Command,
  client: () => ApiClient,
  show: (value: unknown, text: () => string) => void,
): void {
  const record = ctl.command("record").description("a recording of the network's input and output, for tslirp replay");
  record
    .command("start <file>")
    .description(
      "begin a recording in a new file, or in one in an existing folder; refused while flows would end by it",
    )
    .option("--payload <on|off>", "whether the recording has payload, or only its lengths (on)")
    .option("--end-flows", "end the flows that exist")
    .action(async (file: string, { payload, endFlows }: { payload?: string; endFlows?: boolean }) => {
      if (payload !== undefined && payload !== "on" && payload !== "off")
        throw new ConfigError("--payload", payload, "expected on or off");
      // tslirp opens the file, and may run in another folder.
      const body = { file: path.resolve(file), payload: payload !== "off", endFlows };
      const started = await client().post<State>("/v1/recording", body);
      show(started, () => stateText(started));
    });
  record
    .command("stop")
    .description("end the recording that runs, also one of --record")
    .action(async () => {
      const ended = await client().delete<State>("/v1/recording");
      show(ended, () => stateText(ended));
    });
  byDefault(record, "status")
    .description("tell whether a recording runs")
    .action(async () => {
      const state = await client().get<{ recording: State | null }>("/v1/recording");
      show(state, () => (state.recording === null ? "none\n" : stateText(state.recording)));
    });
}

function stateText({ file, payload, began, bytes }: State): string {
  return `${table(["FILE", "PAYLOAD", "BEGAN", "BYTES"], [[file, payload ? "on" : "off", began, bytes]])}`;
}
