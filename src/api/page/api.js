/** What asks the API: the token that came with the address or was typed, and which network is meant. */

export const token = { value: takeToken() };
/** Where the network's own part of the API begins: `v1`, or `v1/networks/g3`. */
export const network = { base: "v1" };

/** The token stands in the address once; then in this tab's memory only. */
function takeToken() {
  const url = new URL(location.href);
  const given = url.searchParams.get("token");
  if (given !== null) {
    sessionStorage.setItem("token", given);
    url.searchParams.delete("token");
    history.replaceState(null, "", url);
  }
  return sessionStorage.getItem("token");
}

/** Nobody has answered. */
export class Gone extends Error {}
/** The token is wrong, or there is none. */
export class NoToken extends Error {}

export async function ask(path, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${token.value}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("tslirp does not answer");
  }
  if (response.status === 401) throw new NoToken("this is not the token");
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `status ${response.status}`);
  return response;
}

export const get = async (path) => (await ask(path)).json();
export const own = (path) => `${network.base}/${path}`;
export const send = (method, path, body) =>
  ask(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } });
