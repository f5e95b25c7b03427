// The page of `avs view`: runs of topics and their differences, judgments, the filter and the list of topics.
const shown = Number(document.documentElement.dataset.shown);
const filter = find("#filter"), judged = find("#judged");
// A rank or score is null where the run does not return the shot.
const numbers = (text) => text.split(" ").map((part) => (part === "-" ? null : Number(part)));
const topics = all(".topic").map((section, number) => ({
  section,
  title: find("h2", section).textContent,
  groups: find(".groups", section),
  strips: all(".strip", section),
  entry: find(`.index a[href="#t${number}"]`).parentElement,
  shots: all(".shot", section).map((card) => ({
    card,
    link: find("a", card),
    ranks: numbers(card.dataset.ranks),
    scores: card.dataset.scores.split(" "),
    words: [".id", ".video"].map((part) => find(part, card)?.textContent ?? "").join(" ").toLowerCase(),
  })),
}));
for (const topic of topics) for (const shot of topic.shots) byLink.set(shot.link, { topic, shot });

function group(title, shots) {
  const box = make("div", "", "group"), list = make("ol", "", "sheet");
  if (title) {
    const heading = make("h3", title);
    heading.append(make("span", String(shots.length)));
    box.append(heading);
  }
  list.append(...shots.map(({ card }) => card));
  box.append(list);
  return box;
}

// The run that the view is of needs no second mention among the others.
function label(shot, own, move = "") {
  const rank = String(shot.ranks[own]), score = shot.scores[own];
  const line = find(".edge", shot.card);
  all(".elsewhere > li", shot.card).forEach((place, run) => { place.hidden = run === own; });
  line.replaceChildren(make("b", rank, "rank"), " ", ...(move ? [make("span", move, "move"), " "] : []), make("span", score, "score"));
}

function light(topic, runs) {
  for (const strip of topic.strips) {
    const lit = runs.includes(Number(strip.dataset.run));
    strip.classList.toggle("dim", !lit);
    strip.classList.toggle("bright", lit && names.length > 1);
    strip.hidden = !lit && names.length > 6;
  }
}

const drawn = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  return element;
};

// From each shot's rank in one run, above, to its rank in the other, below: where the lines keep their order, the runs agree.
function crossing(shots, before, after) {
  const picture = drawn("svg", { viewBox: `0 0 ${shown} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const { card, ranks } of shots) {
    const [from, to] = [before, after].map((run) => (ranks[run] === null ? null : ranks[run] - 0.5));
    const line = from === null ? `M${to} 10V8.6` : to === null ? `M${from} 0V1.4` : `M${from} 0C${from} 5 ${to} 5 ${to} 10`;
    const kind = [card.dataset.judged === "relevant" ? "relevant" : "", from === null || to === null ? "alone" : ""].join(" ");
    picture.append(drawn("path", { d: line, class: kind }));
  }
  const ends = (run) => {
    const line = make("p");
    line.append(make("bdi", `${names[run]}, rank 1`), make("span", String(shown)));
    return line;
  };
  const box = make("div", "", "crossing");
  box.append(ends(before), picture, ends(after));
  return box;
}

function showRun(run) {
  for (const topic of topics) {
    const returned = topic.shots.filter(({ ranks }) => ranks[run] !== null && ranks[run] <= shown);
    returned.sort((one, other) => one.ranks[run] - other.ranks[run]);
    returned.forEach((shot) => label(shot, run));
    topic.groups.replaceChildren(returned.length ? group("", returned) : make("p", `${names[run] ?? "The run"} returns nothing for this topic.`, "group"));
    light(topic, [run]);
  }
}

function showDifference(before, after) {
  const within = (rank) => rank !== null && rank <= shown;
  for (const topic of topics) {
    const compared = topic.shots.filter(({ ranks }) => within(ranks[before]) || within(ranks[after]));
    const kinds = { gained: [], up: [], down: [], still: [], lost: [] };
    for (const shot of compared) {
      const was = shot.ranks[before], is = shot.ranks[after];
      const move = was === null || is === null ? 0 : was - is;
      if (was === null) kinds.gained.push(shot);
      else if (is === null) kinds.lost.push(shot);
      else kinds[move > 0 ? "up" : move < 0 ? "down" : "still"].push(shot);
      if (was === null) label(shot, after, "new");
      else if (is === null) label(shot, before, "gone");
      else label(shot, after, move > 0 ? `▲ ${move}` : move < 0 ? `▼ ${-move}` : "=");
    }
    const distance = ({ ranks }) => Math.abs(ranks[before] - ranks[after]);
    const by = (run) => (one, other) => one.ranks[run] - other.ranks[run];
    for (const kind of ["up", "down"]) kinds[kind].sort((one, other) => distance(other) - distance(one) || by(after)(one, other));
    kinds.gained.sort(by(after));
    kinds.still.sort(by(after));
    kinds.lost.sort(by(before));
    const titles = {
      gained: `Only in ${names[after]}`,
      up: `Moved up in ${names[after]}`,
      down: `Moved down in ${names[after]}`,
      still: "Same rank in both",
      lost: `Only in ${names[before]}`,
    };
    const groups = Object.keys(kinds).filter((kind) => kinds[kind].length).map((kind) => group(titles[kind], kinds[kind]));
    topic.groups.replaceChildren(...(groups.length ? [crossing(compared, before, after), ...groups] : [make("p", "Neither run returns anything for this topic.", "group")]));
    light(topic, [before, after]);
  }
}

const chosen = () => find(".views input:checked")?.value ?? "0";

function show() {
  const difference = chosen() === "difference";
  if (names.length) find("#pair").hidden = !difference;
  if (difference) showDifference(Number(find("#before").value), Number(find("#after").value));
  else showRun(Number(chosen()));
  document.documentElement.dataset.view = chosen();
  sift();
}

function sift() {
  const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean), mark = judged?.value ?? "";
  let passed = 0, whole = 0;
  for (const topic of topics) {
    let here = 0;
    for (const { card, words } of topic.shots) {
      if (!card.isConnected || !topic.groups.contains(card)) continue;
      card.hidden = !(wanted.every((word) => words.includes(word)) && (!mark || card.dataset.judged === mark));
      here += !card.hidden;
      whole += 1;
    }
    const sifting = wanted.length > 0 || mark !== "";
    all(".group", topic.groups).forEach((box) => { box.hidden = sifting && !find(".shot:not([hidden])", box); });
    topic.section.hidden = sifting && here === 0;
    topic.entry.hidden = topic.section.hidden;
    passed += here;
  }
  find("#nothing").hidden = passed > 0 || whole === 0;
  find("#count").textContent = passed === whole ? `${whole} shots` : `${passed} of ${whole} shots`;
  links = all(".shot:not([hidden]) > a", find("#topics")).filter((link) => !link.closest(".topic").hidden);
  rove(links.includes(current) ? current : links[0]);
}

function stepTopic(by) {
  const sections = topics.map(({ section }) => section).filter((section) => !section.hidden && find(".shot:not([hidden])", section));
  const here = sections.indexOf((started() ? current : firstInSight())?.closest(".topic"));
  const next = sections[started() ? here + by : Math.max(here + Math.min(by, 0), 0)];
  if (!next) return;
  go(links.find((link) => next.contains(link)));
  bring(find("header", next), "start");
}

function nextView() {
  const radios = all(".views input");
  if (!radios.length) return;
  radios[(radios.findIndex((radio) => radio.checked) + 1) % radios.length].checked = true;
  show();
}

function clear() {
  filter.value = "";
  if (judged) judged.value = "";
  sift();
}

Object.assign(actions, { n: () => stepTopic(1), p: () => stepTopic(-1), v: nextView, "/": () => filter.focus(), Escape: clear });
inLarge.push("n", "p");

find(".index").addEventListener("click", (event) => {
  const topic = topics.find(({ entry }) => entry.contains(event.target));
  if (topic) requestAnimationFrame(() => bring(find("header", topic.section), "start"));
});
find("#clear").addEventListener("click", clear);
filter.addEventListener("input", sift);
judged?.addEventListener("change", sift);
all(".views input, #before, #after").forEach((control) => control.addEventListener("change", show));

// Scrolls the list of topics alone: scrollIntoView would move the page too.
function keepInSight(entry) {
  const list = entry.closest("ol"), box = list.getBoundingClientRect(), place = entry.getBoundingClientRect();
  if (place.top < box.top || place.bottom > box.bottom) list.scrollTop += place.top - box.top - box.height / 3;
  if (place.left < box.left || place.right > box.right) list.scrollLeft += place.left - box.left - 16;
}

const watch = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const entry = topics.find(({ section }) => section === target).entry.firstElementChild;
    if (isIntersecting) {
      entry.setAttribute("aria-current", "true");
      keepInSight(entry);
    } else entry.removeAttribute("aria-current");
  }
}, { rootMargin: "-30% 0px -69% 0px" });
topics.forEach(({ section }) => watch.observe(section));

document.documentElement.classList.add("script");
tools.hidden = false;
all(".shot a").forEach((link) => { link.tabIndex = -1; });
const first = find(".views input");
if (first) first.checked = true;
show();
// The keys work from the start, at the first shot or at the one that the address names, to which the browser scrolls
// while it loads, and takes the focus away.
const start = () => {
  const aim = document.getElementById(location.hash.slice(1)) ?? document;
  links.find((link) => aim.contains(link))?.focus({ preventScroll: true });
};
if (location.hash) addEventListener("load", () => requestAnimationFrame(start));
else start();
