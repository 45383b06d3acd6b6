// What the page does: it asks the API, shows answers with their reasons, and sends back what the visitor did
"use strict";

const $ = (id) => document.getElementById(id);
const put = (store, name, make) => {
  if (!store.getItem(name)) store.setItem(name, make());
  return store.getItem(name);
};
const anonymous = put(sessionStorage, "endcap.guest", () => "guest-" + newId());

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/* The key: asked once, kept by this tab. */
function askKey(words = "") {
  $("key-note").textContent = words;
  return new Promise((done) => {
    $("key-form").onsubmit = () => {
      sessionStorage.setItem("endcap.key", $("key").value.trim());
      $("key").value = "";
      done();
    };
    if (!$("ask-key").open) $("ask-key").showModal();
  });
}
$("ask-key").addEventListener("cancel", (event) => event.preventDefault());

/* Ask the API. Throws {what, where, do} if it says no. */
async function ask(path, options = {}) {
  const headers = { "X-API-Key": sessionStorage.getItem("endcap.key") || "", ...options.headers };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw { what: "The API does not answer.", do: "Is it running?" };
  }
  const body = await answer.json().catch(() => ({ what: "The answer cannot be read." }));
  if (answer.status === 401) {
    await askKey(sessionStorage.getItem("endcap.key") ? "That key does not fit. Try again." : "");
    return ask(path, options);
  }
  if (!answer.ok) throw body;
  return body;
}

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

function sayFault(note, fault) {
  note.classList.add("bad");
  note.textContent = [fault.what || "Something went wrong.", fault.do].filter(Boolean).map(sentence).join(" ");
}

function sentence(words) {
  const line = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.?!]$/.test(line) ? line : line + ".";
}

function money(item) {
  if (item.price === null || item.price === undefined) return "";
  const price = Number(item.price);
  if (!item.currency) return price.toFixed(2);
  try {
    return new Intl.NumberFormat(undefined, { style: "currency", currency: item.currency }).format(price);
  } catch {
    return `${price.toFixed(2)} ${item.currency}`;
  }
}

/* One item of an answer. Words of the shop are set as text, never as markup. */
function card(item, answer) {
  const node = $("item").content.firstElementChild.cloneNode(true);
  node.dataset.item = item.id;
  node.querySelector(".place").textContent = item.position;
  node.querySelector("h3").textContent = item.title || item.id;
  node.querySelector(".sub").textContent = [item.brand, item.category].filter(Boolean).join(" · ");
  node.querySelector(".why").textContent = item.why;
  node.querySelector(".price").textContent = money(item);
  node.querySelector(".look").addEventListener("click", (event) => tell("click", item, answer, event.currentTarget, "Seen"));
  node.querySelector(".cart").addEventListener("click", (event) => tell("cart", item, answer, event.currentTarget, "Added"));
  return node;
}

/* Send back what the visitor did. */
async function tell(kind, item, answer, button, done) {
  button.disabled = true;
  const note = answer.note;
  try {
    await post("/events", {
      event_id: newId(), event_time: new Date().toISOString(), kind, item_id: item.id,
      visitor_id: $("visitor").value.trim() || anonymous, ranking_id: answer.ranking_id, channel: "web",
    });
    button.textContent = done;
    button.classList.add("done");
  } catch (fault) {
    button.disabled = false;
    sayFault(note, fault);
  }
}

function fill(list, note, answer, words) {
  note.classList.remove("bad");
  answer.note = note;
  const cards = answer.items.map((item) => card(item, answer));
  if (!cards.length) {
    const empty = document.createElement("li");
    empty.className = "empty";
    empty.textContent = words.none;
    cards.push(empty);
  }
  list.replaceChildren(...cards);
  note.textContent = `${words.some(answer)} ${answer.took_ms.toFixed(answer.took_ms < 10 ? 1 : 0)} ms · ${answer.bundle.name} ${answer.bundle.version} · `;
  const receipt = document.createElement("button");
  receipt.type = "button";
  receipt.textContent = "receipt";
  receipt.addEventListener("click", () => showReceipt(answer.receipt_id, note));
  note.append(receipt);
}

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

function row(name, value, small = "", mono = false) {
  const line = document.createElement("div");
  const term = document.createElement("dt");
  const text = document.createElement("dd");
  term.textContent = name;
  if (Array.isArray(value)) {
    const list = document.createElement("ul");
    for (const each of value) list.append(Object.assign(document.createElement("li"), { textContent: each }));
    text.append(list);
  } else {
    text.textContent = value;
  }
  if (mono) (text.firstElementChild || text).classList.add("mono");
  if (small) text.append(Object.assign(document.createElement("small"), { textContent: small }));
  line.append(term, text);
  return line;
}

function plain(value) {
  if (value === null || value === undefined) return "not known";
  if (Array.isArray(value)) return value.length ? value.slice(0, 6).map(plain).join(", ") : "none";
  if (typeof value === "number") return value.toLocaleString(undefined, { maximumFractionDigits: 3 });
  return String(value);
}

const moment = (text) => (text ? `${times.format(new Date(text))} UTC` : "not known");
const some = (values, most) => [...values.slice(0, most), ...(values.length > most ? [`and ${values.length - most} more`] : [])];

/* The history as lines of one item each, the other values by name, and the moments all this is true at. */
function showKnown(looked) {
  const { items, times: bought, counts, decayed, ...others } = looked.values;
  const rows = [];
  if (items) {
    const lines = items.map((item, n) => `${item}: ${counts[n]} ×, last ${bought[n].slice(0, 10)}`);
    rows.push(row("bought", some(lines, 8), `${items.length} different items`));
  }
  for (const [name, value] of Object.entries(others)) rows.push(row(name.replaceAll("_", " ").replace("28d", "in 28 days"), plain(value)));
  const moments = [...new Set(Object.values(looked.event_times).filter(Boolean).map(moment))];
  rows.push(row("true as of", moments.length ? moments : "nothing is known"));
  $("features").replaceChildren(...rows);
  $("known").hidden = false;
}

async function showReceipt(id, note) {
  try {
    const receipt = await ask(`/receipts/${encodeURIComponent(id)}?trace=true`);
    const files = receipt.trace.files.map((file) => `${file.file}  ${file.sha256.slice(0, 16)}…`);
    $("receipt-body").replaceChildren(
      row("receipt", receipt.receipt_id, moment(receipt.at), true),
      row("bundle", `${receipt.bundle.name} ${receipt.bundle.version} (${receipt.bundle.kind})`, `sha256 ${receipt.bundle.sha256.slice(0, 16)}… · promotion ${receipt.bundle.sequence}`),
      row("index", receipt.index ? receipt.index.name : "none needed", receipt.index ? receipt.index.items : ""),
      row("true as of", moment(receipt.as_of)),
      row("visitor", receipt.visitor ? `${receipt.visitor.slice(0, 14)}…` : "nobody in particular", receipt.visitor ? "a pseudonym" : "", true),
      row("ranking", receipt.ranking.map((each) => each.item_id).join(", ") || "empty"),
      row(`${receipt.data.length} partitions`, some(receipt.data, 6), "", true),
      row(`${files.length} raw files`, files.length ? some(files, 6) : "none found", receipt.trace.missing.length ? `${receipt.trace.missing.length} partitions were replaced since` : "file and SHA-256", true),
    );
    $("receipt").showModal();
  } catch (fault) {
    sayFault(note, fault);
  }
}

async function busy(form, work) {
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await work();
  } finally {
    button.disabled = false;
  }
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = $("query").value.trim();
  if (!query) return $("query").focus();
  busy(event.currentTarget, async () => {
    const visitor = $("visitor").value.trim();
    const asked = new URLSearchParams({ q: query, k: "10", ...(visitor ? { visitor } : {}) });
    try {
      fill($("results"), $("search-note"), await ask(`/search?${asked}`), {
        none: "Nothing was found. Try other words.",
        some: (answer) => `${answer.items.length} of the best ·`,
      });
    } catch (fault) {
      $("results").replaceChildren();
      sayFault($("search-note"), fault);
    }
  });
});

$("recommend").addEventListener("submit", (event) => {
  event.preventDefault();
  const visitor = $("visitor").value.trim();
  if (!visitor) return $("visitor").focus();
  busy(event.currentTarget, async () => {
    try {
      fill($("recommendations"), $("recommend-note"), await ask(`/recommend?${new URLSearchParams({ visitor, k: "8" })}`), {
        none: "There is nothing to recommend yet.",
        some: (answer) => (answer.known ? "From what this visitor bought ·" : "Nothing is known of this visitor: what others buy ·"),
      });
      showKnown((await post("/features", { visitor })).visitor[0]);
    } catch (fault) {
      $("recommendations").replaceChildren();
      $("known").hidden = true;
      sayFault($("recommend-note"), fault);
    }
  });
});

async function start() {
  try {
    const answer = await fetch("/health");
    const health = await answer.json();
    $("shop").textContent = `the shop ‘${health.shop}’`;
    document.title = `Endcap · ${health.shop}`;
    const serving = Object.entries(health.champions).filter(([, each]) => each.ready).map(([name, each]) => `${name} ${each.version}`);
    $("state").textContent = serving.length ? serving.join(" · ") : "nothing promoted yet";
    $("state").classList.add(answer.ok ? "good" : "bad");
  } catch {
    $("state").textContent = "no answer";
    $("state").classList.add("bad");
  }
  if (!sessionStorage.getItem("endcap.key")) await askKey();
}
start();
