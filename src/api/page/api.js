/**
 * Requests to the API: the token, which came with the address or was typed, and the network that requests are about.
 */

export const token = { value: takeToken() };
/** The beginning of paths about one network: `v1`, or `v1/networks/g3`. */
export const network = { base: "v1" };

/** Takes the token out of the page's address, and keeps it in this tab's session storage only. */
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

/** The server does not answer. */
export class Gone extends Error {}
/** The token is wrong or missing. */
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
