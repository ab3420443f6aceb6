import { V86 } from "./libv86.mjs";

const settings = async () => (await fetch("settings.json")).json();
const { relay, boot } = await settings();
const state = document.getElementById("state");
new V86({
  wasm_path: "v86.wasm",
  memory_size: 128 << 20,
  vga_memory_size: 2 << 20,
  screen_container: document.getElementById("screen"),
  bios: { url: "bios.bin" },
  vga_bios: { url: "vgabios.bin" },
  ...boot,
  net_device: { type: "ne2k", relay_url: relay },
  disable_speaker: true,
  autostart: true,
});
state.textContent = `booting; its network is at ${relay}`;
const asking = setInterval(async () => {
  const { done } = await settings();
  if (done === null) return;
  clearInterval(asking);
  state.textContent = done;
}, 1000);
