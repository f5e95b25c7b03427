// What the pages of `avs view` and `avs serve` share: the sheet of shots, its keys, and the enlarged view that plays.
// It stands before the page's own script, in one function with it. That one fills `byLink` and `links`.
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const tools = find("#tools"), large = find("#large"), keys = find("#keys");
const frame = find(".frame", large), film = find("video", large), note = find(".note", large);
const play = find("[value=play]", large), copy = find("[value=copy]", large);
const names = all(".views input:not([value=difference]) + span").map((span) => span.textContent);
// Link of a shot -> its topic (with a title) and itself (its card, and its rank in each run).
const byLink = new Map();

const make = (tag, text = "", kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });

// One link of the sheet is in the tab order; keys move that place.
let links = [], current = null, enlarged = null;

function rove(link) {
  if (current) current.tabIndex = -1;
  current = link ?? null;
  if (current) current.tabIndex = 0;
}

// Topics out of sight have a guessed height; those that come near on the way take their own, and move what is below.
let settling = 0;

function bring(element, block, frames = 8) {
  element.scrollIntoView({ block });
  cancelAnimationFrame(settling);
  if (frames) settling = requestAnimationFrame(() => bring(element, block, frames - 1));
}

function go(link) {
  if (!link) return;
  rove(link);
  link.focus({ preventScroll: true });
  bring(link.parentElement, "nearest");
  if (large.open) enlarge();
}

const started = () => links.includes(document.activeElement) || large.open;
const step = (by) => go(started() ? links[links.indexOf(current) + by] : firstInSight());
const firstInSight = () => links.find((link) => link.getBoundingClientRect().bottom > tools.offsetHeight) ?? links[0];

function stepRow(by) {
  const place = current.getBoundingClientRect();
  let row = null, best = null;
  for (let at = links.indexOf(current) + by; links[at]; at += by) {
    const box = links[at].getBoundingClientRect();
    if (Math.abs(box.top - place.top) < 4) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) >= 4) break;
    const away = Math.abs(box.left - place.left);
    if (!best || away < best.away) best = { link: links[at], away };
  }
  go(best?.link);
}

function everywhere({ ranks }) {
  if (names.length < 2) return [];
  const list = make("ul", "", "elsewhere");
  ranks.forEach((rank, run) => {
    const line = make("li");
    line.append(make("bdi", names[run]), " ", make("b", rank === null ? "–" : String(rank)));
    list.append(line);
  });
  return [list];
}

// Where a shot is: the address of its file, its path, and seconds; null where the page has no file.
function place({ card }) {
  const address = find(".place a", card)?.href;
  if (!address) return null;
  const [start, end] = address.split("#t=")[1].split(",").map(Number);
  return { address, path: card.dataset.path ?? pathOf(address), start, end };
}

// The file's path, or its address on a server.
function pathOf(address) {
  const { protocol, origin, pathname } = new URL(address);
  if (protocol !== "file:") return origin + pathname;
  try { return decodeURIComponent(pathname); } catch { return pathname; } // names that are not UTF-8
}

// The shot in the player; `over` once it has played to its end, beyond which the reader may go on.
let playing = null;

function still() {
  playing = null;
  film.pause();
  film.removeAttribute("src");
  film.load();
  film.hidden = true;
  const image = find("img", large);
  image.hidden = !image.getAttribute("src");
  find(".blank", large).hidden = !image.hidden;
  frame.classList.toggle("playable", Boolean(place(byLink.get(current).shot)));
}

function playShot() {
  const found = place(byLink.get(current).shot);
  if (!found) return;
  const same = playing?.address === found.address;
  playing = { ...found, over: false };
  note.textContent = "";
  frame.classList.remove("playable");
  find("img", large).hidden = find(".blank", large).hidden = true;
  film.hidden = false;
  if (same) film.currentTime = found.start;
  else {
    film.poster = find("img", large).getAttribute("src") ?? "";
    film.src = found.address;
  }
  film.play().catch(() => {}); // what prevents it is an error of the element, or a pause
}

const ended = () => playing.over || film.currentTime > playing.end - 0.1;

function toggle() {
  if (!playing || (film.paused && ended())) playShot();
  else if (film.paused) film.play().catch(() => {});
  else film.pause();
}

function failed() {
  if (!playing) return;
  const name = playing.path.split("/").pop();
  still();
  note.textContent = `This browser cannot play ${name}: the file has moved since the page was made, or the browser does not decode its format.`;
}

// Browsers stop at the end of the fragment, and not all of them, nor when it is played again.
function halt() {
  if (!playing || playing.over || film.currentTime < playing.end) return;
  playing.over = true;
  film.pause();
}

async function copyPlace() {
  const found = place(byLink.get(current).shot);
  if (!found) return;
  const { path } = found;
  const text = `${path}\t${found.start}\t${found.end}`;
  let copied = true;
  try { await navigator.clipboard.writeText(text); } catch {
    // Browsers that keep the clipboard from pages on disk.
    const area = make("textarea", text), back = document.activeElement;
    large.append(area);
    area.select();
    copied = document.execCommand("copy");
    area.remove();
    back.focus();
  }
  note.textContent = copied ? `Copied: ${path}, ${found.start} to ${found.end} s` : `${path} ${found.start} ${found.end}`;
}

// What stands below the enlarged shot.
function caption() {
  const { topic, shot } = byLink.get(current);
  const lines = all(":scope > :not(a, .elsewhere)", shot.card).map((line) => line.cloneNode(true));
  for (const line of lines) for (const link of all("a", line)) Object.assign(link, { tabIndex: 0, target: "_blank", rel: "noopener" });
  find(".caption", large).dataset.judged = shot.card.dataset.judged ?? "";
  find(".caption", large).replaceChildren(make("h3", topic.title), ...lines, ...everywhere(shot));
}

function enlarge() {
  const { shot } = byLink.get(current);
  const picture = find(".picture", current), image = find("img", large), found = place(shot), goesOn = playing && large.open;
  const source = shot.card.dataset.whole ?? picture.src ?? getComputedStyle(picture).backgroundImage.match(/^url\("(.*)"\)$/)?.[1];
  if (source) image.src = source;
  else image.removeAttribute("src");
  image.alt = picture.alt ?? picture.getAttribute("aria-label");
  still();
  caption();
  find("[value=back]", large).disabled = links.indexOf(current) === 0;
  find("[value=on]", large).disabled = links.indexOf(current) === links.length - 1;
  play.hidden = copy.hidden = !found;
  note.textContent = !found && find(".place time", shot.card) ? "This shot does not play: its video was not there when the page was made." : "";
  enlarged = current;
  if (goesOn) playShot();
  if (large.open) return;
  large.showModal();
  (found ? play : find("[value=close]", large)).focus();
}

// A page adds its own.
const actions = {
  j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1),
  ArrowDown: () => stepRow(1), ArrowUp: () => stepRow(-1), " ": () => { enlarge(); playShot(); }, c: copyPlace, "?": () => keys.showModal(),
};
// The arrows belong to the sheet only while it has the focus: elsewhere they scroll, or move between controls.
const inSheet = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", " "];
const inLarge = ["j", "k", "ArrowRight", "ArrowLeft", "n", "p", "c"];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  const typing = event.target.matches("input:not([type=radio], [type=checkbox]), select");
  if (typing && event.key !== "Escape") return;
  if (large.open ? !inLarge.includes(event.key) : inSheet.includes(event.key) && !links.includes(event.target)) return;
  const action = actions[event.key];
  if (!action || (event.key === "c" && !large.open)) return;
  event.preventDefault();
  action();
  if (event.key === "Escape" && typing) go(current);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest(".shot a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  rove(find("a", link.closest(".shot")));
  enlarge();
  if (link !== current) playShot();
});
document.addEventListener("focusin", (event) => { if (byLink.has(event.target)) rove(event.target); });
for (const dialog of [large, keys]) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.value === "close") dialog.close(); });
}
// The browser gives the focus back to where it was when the view opened; the reader has gone on since.
large.addEventListener("close", () => { still(); go(enlarged); });
play.addEventListener("click", toggle);
copy.addEventListener("click", copyPlace);
frame.addEventListener("click", (event) => { if (event.target !== film) playShot(); });
film.addEventListener("error", failed);
for (const event of ["play", "pause", "emptied"]) film.addEventListener(event, () => { play.textContent = playing && !film.paused ? "❚❚ Pause" : "▶ Play"; });
film.addEventListener("timeupdate", halt);
find("[value=back]", large).addEventListener("click", () => step(-1));
find("[value=on]", large).addEventListener("click", () => step(1));
find("#help").addEventListener("click", () => keys.showModal());
tools.addEventListener("submit", (event) => event.preventDefault());
