"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const shown = Number(document.documentElement.dataset.shown);
  const tools = find("#tools"), filter = find("#filter"), judged = find("#judged");
  const large = find("#large"), keys = find("#keys");
  const frame = find(".frame", large), film = find("video", large), note = find(".note", large);
  const play = find("[value=play]", large), copy = find("[value=copy]", large);
  const names = all(".views input:not([value=difference]) + span").map((span) => span.textContent);

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
  const byLink = new Map(topics.flatMap((topic) => topic.shots.map((shot) => [shot.link, { topic, shot }])));

  const make = (tag, text = "", kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });

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

  function stepTopic(by) {
    const sections = topics.map(({ section }) => section).filter((section) => !section.hidden && find(".shot:not([hidden])", section));
    const here = sections.indexOf((started() ? current : firstInSight())?.closest(".topic"));
    const next = sections[started() ? here + by : Math.max(here + Math.min(by, 0), 0)];
    if (!next) return;
    go(links.find((link) => next.contains(link)));
    bring(find("header", next), "start");
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

  // Where a shot is: the address of its file, and seconds; null where the page has no file.
  function place({ card }) {
    const address = find(".place a", card)?.href;
    if (!address) return null;
    const [start, end] = address.split("#t=")[1].split(",").map(Number);
    return { address, start, end };
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
    const name = pathOf(playing.address).split("/").pop();
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
    const path = pathOf(found.address);
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

  function enlarge() {
    const { topic, shot } = byLink.get(current);
    const picture = find(".picture", current), image = find("img", large), found = place(shot), goesOn = playing && large.open;
    const source = picture.src ?? getComputedStyle(picture).backgroundImage.match(/^url\("(.*)"\)$/)?.[1];
    if (source) image.src = source;
    else image.removeAttribute("src");
    image.alt = picture.alt ?? picture.getAttribute("aria-label");
    still();
    const lines = all(":scope > :not(a, .elsewhere)", shot.card).map((line) => line.cloneNode(true));
    for (const line of lines) for (const link of all("a", line)) Object.assign(link, { tabIndex: 0, target: "_blank", rel: "noopener" });
    find(".caption", large).dataset.judged = shot.card.dataset.judged ?? "";
    find(".caption", large).replaceChildren(make("h3", topic.title), ...lines, ...everywhere(shot));
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

  const actions = {
    j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1),
    ArrowDown: () => stepRow(1), ArrowUp: () => stepRow(-1), n: () => stepTopic(1), p: () => stepTopic(-1),
    " ": () => { enlarge(); playShot(); }, c: copyPlace, v: nextView, "/": () => filter.focus(), "?": () => keys.showModal(), Escape: clear,
  };
  // The arrows belong to the sheet only while it has the focus: elsewhere they scroll, or move between controls.
  const inSheet = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", " "];
  const inLarge = ["j", "k", "ArrowRight", "ArrowLeft", "n", "p", "c"];

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    const typing = event.target.matches("input[type=search], select");
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
  find(".index").addEventListener("click", (event) => {
    const topic = topics.find(({ entry }) => entry.contains(event.target));
    if (topic) requestAnimationFrame(() => bring(find("header", topic.section), "start"));
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
  find("#clear").addEventListener("click", clear);
  tools.addEventListener("submit", (event) => event.preventDefault());
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
})();
