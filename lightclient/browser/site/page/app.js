"use strict";

// The page around confab.resolve. Whatever comes from a source reaches the
// document as text only.

const form = document.getElementById("question");
const button = document.getElementById("go");
const engine = document.getElementById("engine");
const answer = document.getElementById("answer");

// load starts the light client. Afterwards there is globalThis.confab.
async function load() {
  const go = new Go();
  const file = await fetch("confab.wasm");
  if (!file.ok) throw new Error(`confab.wasm: status ${file.status}`);
  const streams = (file.headers.get("content-type") || "").startsWith("application/wasm");
  const { instance } = streams
    ? await WebAssembly.instantiateStreaming(file, go.importObject)
    : await WebAssembly.instantiate(await file.arrayBuffer(), go.importObject);
  go.run(instance).finally(() => {
    button.disabled = true;
    engine.textContent = "The verifier has stopped; load this page again.";
  });
}

// element makes an element with text or other elements in it.
function element(name, className, ...children) {
  const e = document.createElement(name);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

function show(state, ...children) {
  answer.replaceChildren(...children);
  answer.dataset.state = state;
}

// facts makes a list of names and values, without those that are empty.
function facts(rows) {
  const list = element("dl", "facts");
  for (const [name, value, className] of rows) {
    const parts = [value].flat().filter((v) => v !== "" && v != null);
    if (parts.length === 0) continue;
    list.append(element("dt", "", name));
    for (const part of parts) list.append(element("dd", className, String(part)));
  }
  return list;
}

const day = (iso) => iso.slice(0, 10);

const levels = {
  committed: "committed: over two thirds of the validators signed. No witness and no anchor on Ethereum confirms it yet.",
};

// howKnown shows how sure an answer is, never surer.
function howKnown(p) {
  return element("section", "card", element("h2", "", "How this is known"), facts([
    ["Assurance", levels[p.assurance] || p.assurance],
    ["Height", p.height],
    ["Age", `${Math.round(p.ageSeconds)} s, signed at ${p.time}`],
    ["Stands on the pin", p.pin, "mono"],
    ["Answered by", p.source, "mono"],
    ["Confirmed by", p.confirmedBy.length ? p.confirmedBy : "no second source", p.confirmedBy.length ? "mono" : ""],
    ["Proof", `${p.bytes} bytes, checked here`],
    ["Noticed", p.notes],
  ]));
}

function concierge(c) {
  return (c.handle || `account ${c.account}`) + (c.gone ? " (not the service that was chosen any more)" : "");
}

function entry(a) {
  const card = element("section", "card", element("h2", "", "The entry"));
  if (a.pending) {
    card.append(element("p", "warn", `A change is pending: ${a.pending.kind} of ${a.pending.handle} takes effect ${a.pending.effective}, unless the owner undoes it.`));
  }
  card.append(facts([
    ["Account", a.account, "mono"],
    ["Kind", `${a.kind}, generation ${a.generation}`],
    ["Status", `${a.status} until ${day(a.expires)}`],
    ["Handles", a.handles.join(", ")],
    ["Concierges", a.concierges.length ? a.concierges.map(concierge) : "none"],
    ["Service", a.service ? [a.service.roles, ...a.service.urls, ...a.service.peers] : "", "mono"],
    ["Claims to be", a.alsoKnownAs, "mono"],
    ["Profile", a.profile && `sha256 ${a.profile}`, "mono"],
    ["Registered", day(a.registered)],
    ["Operations", a.sequence],
  ]));
  return card;
}

const advice = {
  invalid: "What the source gave is no proof from your pin. Check the pin; if it is right, the source is wrong.",
  stale: "There is a proof, but it is too old to be believed. Ask another source, or get a newer pin.",
  conflict: "The validators signed two different blocks of one height. Nothing of this chain is believed any more.",
  unavailable: "No source gave a true answer. Check the address, or ask another source.",
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [pin, source, handle] = ["pin", "source", "handle"].map((name) => form.elements[name].value.trim());
  button.disabled = true;
  show("busy", element("p", "quiet", "Asking and checking …"));
  try {
    const a = await confab.resolve(pin, source, handle);
    if (a.found) {
      show("verified", element("p", "verdict verified", element("strong", "", "Verified. "), `${a.handle} is ${a.status}.`), entry(a), howKnown(a.proof));
    } else {
      show("absent", element("p", "verdict absent", element("strong", "", "Proven: "), a.text), howKnown(a.proof));
    }
  } catch (err) {
    show("refused", element("p", "verdict refused", element("strong", "", "Refused. "), advice[err.code] || "The question cannot be answered."),
      element("section", "card", element("h2", "", "Why"), element("p", "mono", err.message)));
    answer.dataset.code = err.code || "";
  } finally {
    button.disabled = false;
  }
});

// What stands behind # fills the form, so that a page can be linked to with a
// question. It is not asked by itself: a link must not make its reader's browser
// talk to somebody.
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (["pin", "source", "handle"].includes(name)) form.elements[name].value = value;
}

load().then(
  () => { button.disabled = false; engine.textContent = "The verifier is ready."; },
  (err) => { engine.textContent = `The verifier cannot be loaded: ${err.message}`; },
);
