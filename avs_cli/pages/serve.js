// The page of `avs serve`: asks, lays out what the server answers, and sends the marks.
const byId = (id) => document.getElementById(id);
const ask = byId("ask"), text = byId("text"), second = byId("second"), then = byId("then"), within = byId("within");
const chips = byId("chips"), sheet = byId("sheet"), found = byId("found"), empty = byId("empty"), message = byId("message");
const count = byId("count"), marks = byId("marks"), undo = byId("undo"), more = byId("more"), upload = byId("upload");
const sure = byId("sure"), teach = byId("teach"), folding = byId("fold"), facets = byId("facets"), since = byId("since"), until = byId("until");
const PAGE = 60, LIKELY = 0.5;

// What is asked beside the fields: examples, and where to look.
const nothing = { like: [], pictures: [], file: "", folder: "" };
let place_of = { ...nothing }, answer = null, asking = null, shownShots = 0;

// Asking the server

function say(words) {
  message.textContent = words;
  message.hidden = !words;
}

async function send(path, body, kind = "application/json", signal = undefined) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": kind }, body, signal });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  throw new Error(error);
}

const post = (path, body, signal) => send(path, JSON.stringify(body), "application/json", signal);

// What an action of the user awaits; what fails is said, and a search that another one replaces is not.
async function attempt(action) {
  try { return await action(); } catch (error) {
    if (error.name === "AbortError") return undefined;
    say(error instanceof TypeError ? "The server does not answer. Is avs serve still running?" : `${error.message[0].toUpperCase()}${error.message.slice(1)}.`);
    return undefined;
  }
}

// 1:05 and 65 are seconds; other texts are none.
function seconds(field) {
  const parts = field.value.trim().split(":").map(Number);
  return field.value.trim() && parts.length < 4 && parts.every((part) => part >= 0) ? parts.reduce((sum, part) => 60 * sum + part, 0) : null;
}

const question = () => ({
  text: text.value,
  then: second.hidden ? "" : then.value,
  within: Number(within.value) || 30,
  pictures: place_of.pictures.map(({ picture }) => picture),
  like: place_of.like,
  features: features.length && features.some((box) => !box.checked) ? features.filter((box) => box.checked).map((box) => box.value) : [],
  file: place_of.file,
  folder: place_of.folder,
  since: seconds(since) ?? 0,
  until: seconds(until),
  at_least: sure?.checked ? LIKELY : 0,
  by_marks: teach.checked,
  fold: folding.checked,
});
const features = all("[name=feature]");
const isEmpty = ({ text: words, pictures, like }) => !words.trim() && !pictures.length && !like.length;

// An address for what is asked, so that Back and bookmarks work; pictures are only known to this page.
function address() {
  const asked = question(), parts = new URLSearchParams();
  for (const [key, value] of Object.entries({ q: asked.text, then: asked.then, file: asked.file, folder: asked.folder, since: since.value, until: until.value })) if (value) parts.set(key, value);
  if (asked.then) parts.set("within", asked.within);
  if (sure?.checked) parts.set("likely", "1");
  asked.like.forEach((shot) => parts.append("like", shot));
  return `${location.pathname}${parts.size ? "?" : ""}${parts}`;
}

function restore(parts) {
  text.value = parts.get("q") ?? "";
  then.value = parts.get("then") ?? "";
  within.value = parts.get("within") ?? "30";
  since.value = parts.get("since") ?? "";
  until.value = parts.get("until") ?? "";
  if (sure) sure.checked = parts.has("likely");
  place_of = { ...nothing, like: parts.getAll("like"), file: parts.get("file") ?? "", folder: parts.get("folder") ?? "" };
  showLater(Boolean(then.value));
}

// A new question: an entry of the history, and the sheet from its start.
function searchAnew() {
  say("");
  history.pushState({ pictures: place_of.pictures }, "", address());
  return search();
}

async function search({ marked = "", shots = PAGE } = {}) {
  showChips();
  asking?.abort();
  if (isEmpty(question())) return showNothing();
  asking = new AbortController();
  found.classList.add("waiting");
  const got = await attempt(async () => (await post("/search", { ...question(), count: Math.min(1000, Math.max(PAGE, shots)) }, asking.signal)).json());
  found.classList.remove("waiting");
  if (got) show(got, marked);
  return got;
}

// The sheet

function showNothing() {
  answer = null;
  found.hidden = facets.hidden = tools.hidden = true;
  empty.hidden = false;
  document.title = document.title.replace(/^.* · /, "");
  byLink.clear();
  links = [];
  rove(null);
  text.focus();
}

// marked  the shot that a mark has moved: the sheet stays where it is, and so does an enlarged shot
function show(got, marked) {
  const before = links.indexOf(current), focused = links.includes(document.activeElement);
  const old = marked ? places() : null, last = byLink.get(current);
  answer = got;
  byLink.clear();
  sheet.innerHTML = got.html;
  shownShots = Math.min(got.leading, all(".shot:not([data-beside])", sheet).length);
  empty.hidden = true;
  found.hidden = tools.hidden = facets.hidden = false;
  byId("title").textContent = got.title;
  document.title = `${got.title} · ${document.title.replace(/^.* · /, "")}`;
  byId("doubt").textContent = got.doubt;
  byId("doubt").hidden = !got.doubt;
  byId("nothing").hidden = got.shots > 0;
  count.textContent = `${got.shots.toLocaleString("en")} shot${got.shots === 1 ? "" : "s"} · ${Math.max(1, Math.round(1000 * got.seconds))} ms`;
  marks.textContent = [got.liked && `${got.liked} ✓`, got.disliked && `${got.disliked} ✕`].filter(Boolean).join("  ");
  undo.hidden = byId("teaching").hidden = !(got.liked + got.disliked);
  byId("likely")?.classList.toggle("off", !got.sure);
  if (sure) sure.disabled = !got.sure && !sure.checked;
  showFacets(got);
  relink();
  if (!marked) {
    rove(links[0]);
    scrollTo({ top: 0 });
  } else if (large.open) {
    const again = cardOf(marked);
    if (!again) byLink.set(current, last); // it is further down than what is shown
    rove(again ? find("a", again) : current);
    enlarged = current;
    caption();
  } else {
    rove(links[Math.min(Math.max(before, 0), links.length - 1)]);
    if (focused) current?.focus({ preventScroll: true });
  }
  if (old) slide(old);
}

function relink() {
  for (const card of all(".shot", sheet)) {
    const link = find("a", card);
    if (byLink.has(link)) continue;
    link.tabIndex = -1;
    for (const inner of all(".place a", card)) inner.tabIndex = -1;
    byLink.set(link, { topic: { title: answer.title }, shot: { card, ranks: [] } });
  }
  links = all(".shot:not([hidden]) > a", sheet);
  more.hidden = shownShots >= answer.leading;
}

const idOf = (link) => find(".id", link.parentElement).textContent;
const cardOf = (shot) => links.find((link) => idOf(link) === shot)?.parentElement;

// Shots glide to their new places when a mark has moved them.
const places = () => new Map(links.map((link) => [idOf(link), link.parentElement.getBoundingClientRect()]));

function slide(old) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const link of links) {
    const was = old.get(idOf(link)), is = link.parentElement.getBoundingClientRect();
    if (!was || is.top > innerHeight || (was.top === is.top && was.left === is.left)) continue;
    link.parentElement.animate([{ transform: `translate(${was.left - is.left}px, ${was.top - is.top}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
  }
}

let loading = false;

async function showMore() {
  if (loading || more.hidden || !answer) return;
  loading = true;
  const asked = answer;
  const got = await attempt(async () => (await post("/search", { ...question(), first: shownShots, count: PAGE })).json());
  loading = false;
  if (!got || asked !== answer) return;
  if (got.version !== answer.version) { search(); return; }
  sheet.insertAdjacentHTML("beforeend", got.html);
  shownShots = Math.min(got.leading, all(".shot:not([data-beside])", sheet).length);
  relink();
}

// Where to look, and examples

function showFacets(got) {
  for (const kind of ["folder", "file"]) {
    const list = find(`[data-facet=${kind}] ul`), offered = kind === "folder" ? got.folders : got.files;
    list.replaceChildren(...offered.map(({ name, label, shots }) => {
      const line = make("li"), button = make("button");
      const title = make("bdi", label), number = make("span", shots.toLocaleString("en"));
      Object.assign(button, { type: "button", title: name });
      button.setAttribute("aria-pressed", String(place_of[kind] === name));
      button.append(title, " ", number);
      button.addEventListener("click", () => { place_of[kind] = place_of[kind] === name ? "" : name; searchAnew(); });
      line.append(button);
      return line;
    }));
    list.parentElement.hidden = offered.length < (place_of[kind] ? 1 : 2);
  }
}

function showChips() {
  const chip = (label, remove, picture) => {
    const line = make("li", "", "chip"), button = make("button", "×");
    if (picture) line.append(Object.assign(new Image(), { src: picture, alt: "" }));
    Object.assign(button, { type: "button", title: "Remove", ariaLabel: `Remove ${label}` });
    button.addEventListener("click", () => { remove(); searchAnew(); });
    line.append(make("bdi", label), button);
    return line;
  };
  const without = (list, one) => list.filter((other) => other !== one);
  chips.replaceChildren(
    ...place_of.pictures.map((one) => chip(one.name, () => { place_of.pictures = without(place_of.pictures, one); }, one.source)),
    ...place_of.like.map((one) => chip(`like ${one}`, () => { place_of.like = without(place_of.like, one); })),
    ...["folder", "file"].filter((kind) => place_of[kind]).map((kind) => chip(`in ${place_of[kind]}`, () => { place_of[kind] = ""; })),
  );
}

function showLater(open) {
  second.hidden = !open;
  byId("later").setAttribute("aria-expanded", String(open));
  if (!open) then.value = "";
}

async function addPicture(file) {
  if (!file) return;
  const got = await attempt(async () => (await send("/picture", file, file.type || "image/jpeg")).json());
  if (!got) return;
  place_of.pictures = [...place_of.pictures, { picture: got.picture, name: file.name || "picture", source: URL.createObjectURL(file) }].slice(-4);
  searchAnew();
}

// Marks

function mark(card, relevant) {
  const shot = find(".id", card).textContent, kind = relevant ? "relevant" : "not relevant";
  const again = card.dataset.judged === kind;
  if (again) delete card.dataset.judged;
  else card.dataset.judged = kind;
  return attempt(async () => {
    await post("/mark", { ...question(), shot, relevant: again ? null : relevant });
    await search({ marked: shot, shots: shownShots });
  });
}

const takeBack = () => attempt(async () => {
  const { shot } = await (await post("/undo", question())).json();
  if (shot) await search({ marked: shot, shots: shownShots });
});

function similar(card) {
  place_of = { ...nothing, like: [find(".id", card).textContent] };
  text.value = "";
  showLater(false);
  if (large.open) large.close();
  return searchAnew().then(() => { if (links[0]) go(links[0]); });
}

function unfold(card) {
  const shot = find(".id", card).textContent, button = find(".fold", card);
  const open = button.getAttribute("aria-expanded") === "false";
  all(".shot[data-beside]", sheet).filter((other) => other.dataset.beside === shot).forEach((other) => { other.hidden = !open; });
  button.setAttribute("aria-expanded", String(open));
  relink();
}

const submit = (card) => attempt(async () => {
  const at = playing ? film.currentTime : undefined;
  const { message: words } = await (await post("/send", { shot: find(".id", card).textContent, seconds: at })).json();
  if (large.open) note.textContent = words;
  else say(words);
});

const acts = { like: (card) => mark(card, true), dislike: (card) => mark(card, false), similar, unfold, submit };
const act = (name) => { if (current && (large.open || document.activeElement.closest(".shot"))) acts[name](current.parentElement); };

async function save(kind) {
  say("");
  const got = await attempt(async () => {
    const response = await post("/export", { ...question(), kind });
    return { data: await response.blob(), name: /filename="?([^";]+)/.exec(response.headers.get("Content-Disposition"))?.[1] ?? kind };
  });
  if (!got) return;
  const link = Object.assign(make("a"), { href: URL.createObjectURL(got.data), download: got.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

Object.assign(actions, {
  "/": () => { text.focus(); text.select(); }, t: () => { showLater(true); then.focus(); },
  l: () => act("like"), d: () => act("dislike"), s: () => act("similar"), u: takeBack,
  x: () => { if (find("[data-act=submit]", sheet)) act("submit"); }, Escape: () => {},
});
inLarge.push("l", "d", "s", "u", "x");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  const card = large.contains(button) ? current.parentElement : button.closest(".shot");
  if (!large.open) rove(find("a", card));
  acts[button.dataset.act](card);
});
ask.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!text.value.trim() && !place_of.pictures.length) place_of.like = [];
  Object.assign(place_of, { file: "", folder: "" });
  // Where a query is wrong, it is to be mended: the focus stays.
  searchAnew().then((got) => { if (got && links[0]) go(links[0]); });
});
byId("later").addEventListener("click", () => { showLater(second.hidden); (second.hidden ? text : then).focus(); });
byId("choose").addEventListener("click", () => upload.click());
upload.addEventListener("change", () => { addPicture(upload.files[0]); upload.value = ""; });
byId("clear").addEventListener("click", () => { Object.assign(place_of, { file: "", folder: "" }); since.value = until.value = ""; if (sure) sure.checked = false; searchAnew(); });
undo.addEventListener("click", takeBack);
byId("export").addEventListener("change", (event) => { if (event.target.value) save(event.target.value); event.target.value = ""; });
for (const box of [sure, ...features].filter(Boolean)) box.addEventListener("change", () => {
  if (features.length && !features.some((one) => one.checked)) box.checked = true;
  searchAnew();
});
for (const box of [teach, folding]) box.addEventListener("change", () => search({ shots: shownShots }));
for (const field of [since, until]) {
  field.addEventListener("change", searchAnew);
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") field.blur(); });
}
then.addEventListener("keydown", (event) => { if (event.key === "Enter") ask.requestSubmit(); });
empty.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("choose" in button.dataset) upload.click();
  else { text.value = button.dataset.try; ask.requestSubmit(); }
});
addEventListener("popstate", (event) => {
  restore(new URLSearchParams(location.search));
  place_of.pictures = event.state?.pictures ?? [];
  search();
});
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  document.documentElement.classList.toggle("dropping", kind === "dragover");
  if (kind === "drop") addPicture([...event.dataTransfer.files].find(({ type }) => type.startsWith("image/")));
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.documentElement.classList.remove("dropping"); });
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) addPicture(file);
});
// Pictures of the sheet's shape fill their frames.
sheet.addEventListener("load", ({ target: image }) => {
  if (Math.abs(image.naturalWidth / image.naturalHeight / aspect - 1) < 0.01) image.classList.add("cover");
}, true);
new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) showMore(); }, { rootMargin: "0px 0px 800px" }).observe(more);

const aspect = Number(document.documentElement.dataset.aspect);
document.documentElement.style.setProperty("--aspect", aspect);
document.documentElement.classList.add("script");
restore(new URLSearchParams(location.search));
search();
