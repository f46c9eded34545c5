// The script of the hosted payment page. It runs the passkey ceremonies and looks again while something is
// under way. It decides nothing: what is shown is always the page as the server renders it.
"use strict";

const main = document.querySelector("main[data-action]");
const action = main.dataset.action;
const shown = main.dataset.state + "/" + (main.dataset.payment || "");
const LOOK_AGAIN_MS = 2000;
const LOOK_FOR_MS = 15 * 60 * 1000;

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
const named = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

async function ask(path, body) {
  const answer = await fetch(action + path, {
    method: body === undefined ? "GET" : "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  const document = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document.detail), { code: document.code });
  return document;
}

async function approve() {
  const options = await ask("/passkey/options", {});
  const made = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: named(options.allowCredentials),
    },
  });
  const { clientDataJSON, authenticatorData, signature, userHandle } = made.response;
  await ask("/passkey", {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    authenticatorAttachment: made.authenticatorAttachment,
    clientExtensionResults: made.getClientExtensionResults(),
    response: {
      clientDataJSON: text(clientDataJSON),
      authenticatorData: text(authenticatorData),
      signature: text(signature),
      userHandle: userHandle ? text(userHandle) : null,
    },
  });
  location.reload();
}

async function enrol() {
  const options = await ask("/enrol/options", {});
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: named(options.excludeCredentials),
    },
  });
  const { clientDataJSON, attestationObject } = made.response;
  await ask("/enrol", {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    authenticatorAttachment: made.authenticatorAttachment,
    clientExtensionResults: made.getClientExtensionResults(),
    response: {
      clientDataJSON: text(clientDataJSON),
      attestationObject: text(attestationObject),
      transports: made.response.getTransports ? made.response.getTransports() : [],
    },
  });
  document.getElementById("offer").querySelector("p").textContent =
    "Done. Next time you can approve with your passkey.";
  document.getElementById("enrol").hidden = true;
}

function offer(button, ceremony, said) {
  const problem = document.getElementById("problem");
  button.addEventListener("click", async () => {
    button.disabled = true;
    problem.hidden = true;
    try {
      await ceremony();
    } catch (error) {
      // Closing the browser's own window is no fault; anything else the server has put into words.
      problem.textContent = error.name === "NotAllowedError" ? said : error.message || said;
      problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}

async function watch() {
  const until = Date.now() + LOOK_FOR_MS;
  while (Date.now() < until) {
    await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
    if (document.hidden) continue;
    try {
      const now = await ask("/state");
      const latest = now.state + "/" + (main.dataset.payment === undefined ? "" : now.payment);
      if (latest !== shown) return location.reload();
    } catch {
      // The network comes back or it does not; the page stays as it is.
    }
  }
}

if (window.PublicKeyCredential) {
  const passkey = document.getElementById("passkey");
  const section = document.getElementById("offer");
  if (passkey) {
    passkey.hidden = false;
    offer(passkey, approve, "Nothing was approved. You can try again or use your bank.");
  }
  if (section) {
    section.hidden = false;
    offer(document.getElementById("enrol"), enrol, "No passkey was added.");
  }
}
const bank = document.getElementById("bank");
if (bank && !(window.PublicKeyCredential && document.getElementById("passkey"))) bank.classList.add("go");
watch();
