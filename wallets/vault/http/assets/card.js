// Takes a card, encrypts it to the vault's public key (JWE: RSA-OAEP-256, A256GCM), sends only that.
// The one script of this page; its hash is in the page and in the inventory beside it.
"use strict";

const page = document.getElementById("page");
const form = document.getElementById("entry");
const fields = Object.fromEntries(
  ["number", "expiry", "security_code", "holder"].map((name) => [name, document.getElementById(name)])
);
const startedAt = performance.now();

const digitsOf = (text) => text.replace(/\D/g, "");

function brandOf(number) {
  if (/^4/.test(number)) return "Visa";
  if (/^3[47]/.test(number)) return "American Express";
  const four = Number(number.slice(0, 4));
  if (/^5[1-5]/.test(number) || (four >= 2221 && four <= 2720)) return "Mastercard";
  return "";
}

function passesLuhn(number) {
  let total = 0;
  [...number].reverse().forEach((digit, place) => {
    const value = Number(digit) * (place % 2 ? 2 : 1);
    total += value > 9 ? value - 9 : value;
  });
  return total % 10 === 0;
}

function grouped(number) {
  const sizes = brandOf(number) === "American Express" ? [4, 6, 5] : [4, 4, 4, 4, 3];
  const groups = [];
  let from = 0;
  for (const size of sizes) {
    if (from < number.length) groups.push(number.slice(from, from + size));
    from += size;
  }
  return groups.join(" ");
}

function rewrite(input, text) {
  // Keep the caret after the same digit it was after.
  const before = digitsOf(input.value.slice(0, input.selectionStart ?? input.value.length)).length;
  if (input.value === text) return;
  input.value = text;
  if (document.activeElement !== input) return;
  let at = 0;
  for (let seen = 0; at < text.length && seen < before; at += 1) if (/\d/.test(text[at])) seen += 1;
  if (before === digitsOf(text).length) at = text.length;
  input.setSelectionRange(at, at);
}

function expiryOf(text) {
  const digits = digitsOf(text);
  if (digits.length !== 4 && digits.length !== 6) return null;
  const year = Number(digits.slice(2));
  return { month: Number(digits.slice(0, 2)), year: digits.length === 4 ? 2000 + year : year };
}

function tell(name, message) {
  const input = fields[name];
  document.getElementById(`${name}-error`).textContent = message;
  input.closest(".field").classList.toggle("wrong", message !== "");
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

function trouble(message) {
  const place = document.getElementById("trouble");
  place.textContent = message;
  place.hidden = message === "";
}

function faults() {
  const found = {};
  const number = digitsOf(fields.number.value);
  if (!number) found.number = "Enter the card number.";
  else if (number.length < 12 || number.length > 19 || !passesLuhn(number))
    found.number = "Check the number: a digit seems to be wrong or missing.";
  const expiry = expiryOf(fields.expiry.value);
  const now = new Date((Number(page.dataset.now) + 1) * 1000);
  if (!fields.expiry.value) found.expiry = "Enter the date.";
  else if (!expiry || expiry.month < 1 || expiry.month > 12) found.expiry = "Write it as MM / YY.";
  else if (expiry.year * 12 + expiry.month < now.getUTCFullYear() * 12 + now.getUTCMonth() + 1)
    found.expiry = "This card has expired.";
  const length = brandOf(number) === "American Express" ? 4 : 3;
  const code = digitsOf(fields.security_code.value);
  if (code.length !== length || code !== fields.security_code.value.trim())
    found.security_code = `Enter the ${length} digits.`;
  if (digitsOf(fields.holder.value).length > 3) found.holder = "Enter the name only.";
  return found;
}

function show(found) {
  let first = null;
  for (const name of Object.keys(fields)) {
    tell(name, found[name] ?? "");
    if (found[name] && !first) first = fields[name];
  }
  if (first) first.focus();
  return first === null;
}

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const octets = (text) => new TextEncoder().encode(text);

async function sealed(document_) {
  // RFC 7516, section 5.1, with the algorithms the vault allows.
  const jwk = { kty: "RSA", n: page.dataset.modulus, e: page.dataset.exponent, ext: true };
  const oaep = { name: "RSA-OAEP", hash: "SHA-256" };
  const to = await crypto.subtle.importKey("jwk", jwk, oaep, false, ["encrypt"]);
  const header = base64url(
    octets(JSON.stringify({ alg: "RSA-OAEP-256", enc: "A256GCM", kid: page.dataset.keyId }))
  );
  const raw = crypto.getRandomValues(new Uint8Array(32));
  const nonce = crypto.getRandomValues(new Uint8Array(12));
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt"]);
  const wrapped = await crypto.subtle.encrypt(oaep, to, raw);
  raw.fill(0);
  const boxed = new Uint8Array(
    await crypto.subtle.encrypt(
      { name: "AES-GCM", iv: nonce, additionalData: octets(header), tagLength: 128 },
      key,
      octets(JSON.stringify(document_))
    )
  );
  const [text, tag] = [boxed.slice(0, -16), boxed.slice(-16)];
  return [header, ...[wrapped, nonce, text, tag].map(base64url)].join(".");
}

function card() {
  const expiry = expiryOf(fields.expiry.value);
  return {
    number: digitsOf(fields.number.value),
    expiry_month: expiry.month,
    expiry_year: expiry.year,
    security_code: fields.security_code.value.trim(),
    holder: fields.holder.value.trim(),
  };
}

function forget() {
  for (const input of Object.values(fields)) input.value = "";
}

function turnTo(id) {
  for (const part of ["entry", "done", "over"]) document.getElementById(part).hidden = part !== id;
  document.getElementById(id).focus();
}

function saved(result) {
  const names = { visa: "Visa", mastercard: "Mastercard", amex: "American Express" };
  document.getElementById("saved-brand").textContent = names[result.brand] ?? "Card";
  document.getElementById("saved-digits").textContent = `•••• ${result.last4}`;
  if (result.return_url) {
    const back = document.getElementById("back");
    back.href = result.return_url;
    back.hidden = false;
    document.getElementById("go-on").hidden = false;
    document.getElementById("stay").hidden = true;
  }
  forget();
  document.title = "Card saved";
  turnTo("done");
}

const FIELD_OF = {
  "$.number": "number",
  "$.expiry_month": "expiry",
  "$.expiry_year": "expiry",
  "$.security_code": "security_code",
  "$.holder": "holder",
};

function refused(problem) {
  const code = problem.code ?? "";
  if (code === "card_session.expired" || code === "card_session.used" || code === "card_session.unknown") {
    forget();
    turnTo("over");
    return;
  }
  const name = FIELD_OF[problem.param];
  if (name) show({ [name]: problem.title });
  else if (code === "card.declined") trouble(`${problem.title} Check the details or use another card.`);
  else if (problem.class === "retry" || code === "card_session.busy") trouble(problem.title);
  else trouble("The card could not be saved. Load this page again and try once more.");
}

async function save(event) {
  event.preventDefault();
  trouble("");
  if (!show(faults())) return;
  const button = document.getElementById("save");
  button.disabled = true;
  button.textContent = "Saving…";
  try {
    const body = {
      iat: Number(page.dataset.now) + Math.floor((performance.now() - startedAt) / 1000),
      jti: base64url(crypto.getRandomValues(new Uint8Array(24))),
      sub: location.pathname.split("/").pop(),
      card: card(),
    };
    const answer = await fetch(location.pathname, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ sealed: await sealed(body) }),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    const result = await answer.json();
    if (answer.ok) saved(result);
    else refused(result);
  } catch {
    trouble("The connection broke. Try again.");
  } finally {
    button.disabled = false;
    button.textContent = "Save card";
  }
}

fields.number.addEventListener("input", () => {
  const number = digitsOf(fields.number.value).slice(0, 19);
  rewrite(fields.number, grouped(number));
  const brand = brandOf(number);
  document.getElementById("brand").textContent = brand;
  const amex = brand === "American Express";
  fields.security_code.placeholder = amex ? "1234" : "123";
  document.getElementById("security_code-hint").textContent = amex ? "4 digits on the front" : "3 digits on the back";
});
fields.expiry.addEventListener("input", (event) => {
  let digits = digitsOf(fields.expiry.value).slice(0, 6);
  if (/^[2-9]/.test(digits)) digits = `0${digits}`;
  const removing = event.inputType && event.inputType.startsWith("delete");
  const slash = digits.length > 2 || (digits.length === 2 && !removing);
  rewrite(fields.expiry, slash ? `${digits.slice(0, 2)} / ${digits.slice(2)}` : digits);
});
for (const [name, input] of Object.entries(fields)) {
  input.addEventListener("blur", () => {
    if (input.value) tell(name, faults()[name] ?? "");
  });
  input.addEventListener("input", () => tell(name, ""));
}
form.addEventListener("submit", save);
