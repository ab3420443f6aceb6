/** Impairment: sliders for one rule that matches all guests. The slider for the rate is exponential. */
import { get, own, send } from "./api.js";
import { human } from "./words.js";

/** Milliseconds after a move in which sliders are not set from the API: the user may be about to move them again. */
const SETTLED_MILLIS = 3_000;
const $ = (id) => document.getElementById(id);
const inputs = () => $("impair").querySelectorAll("input");
const rateOf = (step) => (step === 0 ? undefined : Math.round(1e4 * 10 ** (step / 10)));
const SHOWN = {
  delay: (value) => `${value} ms`,
  jitter: (value) => `${value} ms`,
  loss: (value) => `${value} %`,
  rate: (value) => (value === 0 ? "no limit" : human(rateOf(value), "bit/s")),
};
let moved = Number.NEGATIVE_INFINITY;
/** How many rules there are, if the sliders cannot show them; otherwise 0. */
let others = 0;

export function showSliders() {
  let good = true;
  for (const input of inputs()) {
    const value = Number(input.value);
    input.parentElement.querySelector("output").textContent = SHOWN[input.name](value);
    input.setAttribute("aria-valuetext", SHOWN[input.name](value));
    good &&= value === 0;
  }
  const plain = good ? "The line is as good as it is." : "All guests’ lines are made this bad.";
  $("impair-state").textContent =
    others === 0
      ? plain
      : `Lines are made bad by ${others} rule${others === 1 ? "" : "s"} that sliders cannot show (tslirp ctl impair lists them). Moving a slider replaces all of them.`;
}

$("impair").addEventListener("submit", (event) => event.preventDefault());
$("impair").addEventListener("input", () => {
  moved = performance.now();
  others = 0;
  showSliders();
});
$("impair").addEventListener("change", async () => {
  moved = performance.now();
  const value = (name) => Number($("impair").elements[name].value);
  const rule = { delay: value("delay"), jitter: Math.min(value("jitter"), value("delay")), loss: value("loss") / 100 };
  const rate = rateOf(value("rate"));
  const clean = rule.delay === 0 && rule.loss === 0 && rate === undefined;
  $("impair-error").textContent = "";
  const rules = clean ? [] : [{ ...rule, ...(rate === undefined ? {} : { rate }) }];
  await send("PUT", own("impairment"), { rules }).catch((error) => {
    $("impair-error").textContent = error.message;
  });
});

/** Whether the sliders can show this rule. */
function isPlain({ filter, direction = "both", duplicate = 0, reorder = 0 }) {
  return filter === undefined && direction === "both" && duplicate === 0 && reorder === 0;
}

/** Reads the rules, which other programs may have changed. */
export async function readLine() {
  const { rules } = await get(own("impairment"));
  if (performance.now() - moved < SETTLED_MILLIS) return;
  others = rules.length > 1 || (rules.length === 1 && !isPlain(rules[0])) ? rules.length : 0;
  const { delay = 0, jitter = 0, loss = 0, rate } = others > 0 ? {} : (rules[0] ?? {});
  const step = rate === undefined ? 0 : Math.round(10 * Math.log10(rate / 1e4));
  const now = { delay, jitter, loss: loss * 100, rate: step };
  for (const input of inputs()) input.value = now[input.name];
  showSliders();
}

/** Forgets the last move and the error, which belong to another network. */
export function forgetLine() {
  moved = Number.NEGATIVE_INFINITY;
  $("impair-error").textContent = "";
}
