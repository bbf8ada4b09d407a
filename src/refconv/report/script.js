// What scripts add: a theme, options to pick, figures to enlarge, values under the pointer, links that unfold.
"use strict";

(() => {
  const root = document.documentElement;
  const THEMES = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("refconv-theme") || "auto";
  } catch { /* a page from a file may have no storage; the choice then lasts as long as the page */ }
  show(THEMES.includes(theme) ? theme : "auto");

  function show(chosen) {
    theme = chosen;
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  }

  const make = (name, settings = {}, ...children) => {
    const made = Object.assign(document.createElement(name), settings);
    made.append(...children);
    return made;
  };
  const button = (text, act, settings = {}) => {
    const made = make("button", { type: "button", textContent: text, ...settings });
    made.addEventListener("click", act);
    return made;
  };

  function themes() {
    const toggle = document.querySelector(".theme");
    const name = () => { toggle.textContent = `Theme: ${theme}`; };
    toggle.hidden = false;
    name();
    toggle.addEventListener("click", () => {
      show(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
      name();
      try { localStorage.setItem("refconv-theme", theme); } catch { /* as above */ }
    });
  }

  // A link to a section opens it.
  function unfolding() {
    const open = () => {
      const fold = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)))?.querySelector(":scope > .fold");
      if (!fold) return;
      fold.open = true;
      fold.scrollIntoView();
    };
    window.addEventListener("hashchange", open);
    open();
  }

  // Of figures that are options of one choice, one is shown, picked from a list.
  function pickers() {
    document.querySelectorAll(".choice").forEach((choice, number) => {
      const options = [...choice.querySelectorAll(":scope > .option")];
      const word = choice.dataset.choice;
      const select = make("select", { id: `pick-${number}` });
      options.forEach((option) => select.append(make("option", { textContent: option.querySelector("summary").textContent })));
      const place = make("span", { className: "of" });
      const step = (by) => {
        select.selectedIndex += by;
        pick();
      };
      const back = button("Previous", () => step(-1));
      const forth = button("Next", () => step(1));
      back.setAttribute("aria-label", `Previous ${word}`);
      forth.setAttribute("aria-label", `Next ${word}`);
      const pick = () => {
        const chosen = select.selectedIndex;
        options.forEach((option, i) => {
          option.open = true;
          option.hidden = i !== chosen;
        });
        back.disabled = chosen === 0;
        forth.disabled = chosen === options.length - 1;
        place.textContent = `${chosen + 1} of ${options.length}`;
      };
      const label = make("label", { htmlFor: select.id, textContent: word[0].toUpperCase() + word.slice(1) });
      choice.prepend(make("div", { className: "picker" }, label, select, back, forth, place));
      choice.classList.add("picked");
      select.addEventListener("change", pick);
      pick();
    });
  }

  // Enlarging: a copy of the drawing in a dialog, moved and scaled.
  function closer() {
    const view = make("div", { className: "closer-view" });
    const caption = make("p");
    const state = { x: 0, y: 0, scale: 1 };
    const apply = () => {
      const copy = view.firstElementChild;
      if (copy) copy.style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.scale})`;
    };
    const zoom = (factor, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
      const scale = Math.min(40, Math.max(0.25, state.scale * factor));
      state.x = x - ((x - state.x) * scale) / state.scale;
      state.y = y - ((y - state.y) * scale) / state.scale;
      state.scale = scale;
      apply();
    };
    const move = (x, y) => {
      state.x += x;
      state.y += y;
      apply();
    };
    const reset = () => {
      const copy = view.firstElementChild;
      const scale = 0.94 * Math.min(view.clientWidth / copy.offsetWidth, view.clientHeight / copy.offsetHeight, 4);
      const x = (view.clientWidth - scale * copy.offsetWidth) / 2;
      Object.assign(state, { x, y: (view.clientHeight - scale * copy.offsetHeight) / 2, scale });
      apply();
    };
    const bar = make("div", { className: "closer-bar" }, caption,
      button("\u2212", () => zoom(1 / 1.4), { ariaLabel: "Smaller" }),
      button("+", () => zoom(1.4), { ariaLabel: "Larger" }),
      button("Reset", reset),
      button("Close", () => dialog.close()));
    const dialog = make("dialog", { className: "closer", ariaLabel: "The figure, enlarged" });
    dialog.append(make("div", { className: "closer-inside" }, bar, view));
    document.body.append(dialog);
    dialog.addEventListener("close", () => view.replaceChildren());
    dialog.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (event.key === "+" || event.key === "=") zoom(1.4);
      else if (event.key === "-") zoom(1 / 1.4);
      else if (event.key === "0") reset();
      else if (event.key in steps) move(...steps[event.key]);
      else return;
      event.preventDefault();
    });
    view.addEventListener("wheel", (event) => {
      const box = view.getBoundingClientRect();
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    const fingers = new Map();
    const spread = () => {
      const [one, other] = [...fingers.values()];
      return Math.hypot(one.x - other.x, one.y - other.y) || 1;
    };
    view.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      view.setPointerCapture(event.pointerId);
    });
    view.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const apart = fingers.size === 2 ? spread() : 0;
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const box = view.getBoundingClientRect();
      if (apart) zoom(spread() / apart, event.clientX - box.left, event.clientY - box.top);
      else if (fingers.size === 1) move(event.clientX - last.x, event.clientY - last.y);
    });
    for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, (event) => fingers.delete(event.pointerId));
    return (figure) => {
      const drawing = figure.querySelector(".drawing");
      const widest = Math.max(...[...drawing.querySelectorAll("*")].map((part) => part.getBoundingClientRect().right));
      const copy = drawing.cloneNode(true);
      copy.style.width = `${Math.min(drawing.offsetWidth, Math.ceil(widest - drawing.getBoundingClientRect().left))}px`;
      caption.textContent = figure.querySelector("figcaption").textContent;
      view.replaceChildren(copy);
      dialog.showModal();
      reset();
    };
  }

  function enlarging() {
    const open = closer();
    document.querySelectorAll("main figure").forEach((figure) => {
      const numbers = figure.querySelector(":scope > .numbers");
      const tools = make("div", { className: "tools" });
      figure.querySelector("figcaption").after(tools);
      tools.append(button("Enlarge", () => open(figure), { className: "enlarge" }));
      if (numbers) tools.append(numbers);
    });
  }

  // Values: whatever carries data-tip shows it under the pointer, the finger or the focus.
  function tips() {
    document.querySelectorAll("[data-tip] > title").forEach((title) => title.remove()); // else browsers show them as well
    const tip = make("div", { className: "tip", hidden: true });
    tip.setAttribute("role", "tooltip");
    document.body.append(tip);
    const hide = () => { tip.hidden = true; };
    const showAt = (target, x, y) => {
      (target.closest("dialog") || document.body).append(tip);
      tip.textContent = target.dataset.tip;
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      const left = Math.min(Math.max(8, x + 14), root.clientWidth - box.width - 8);
      const below = y + 18 + box.height < window.innerHeight;
      const frame = target.closest("dialog")?.getBoundingClientRect();
      tip.style.left = `${left}px`;
      tip.style.top = `${below ? y + 18 : Math.max(8, y - box.height - 12)}px`;
      if (frame && left < 0) tip.style.left = "8px";
    };
    const of = (event) => event.target instanceof Element && event.target.closest("[data-tip]");
    document.addEventListener("pointermove", (event) => {
      const target = of(event);
      if (target) showAt(target, event.clientX, event.clientY);
      else hide();
    });
    document.addEventListener("pointerdown", (event) => {
      const target = of(event);
      if (target) showAt(target, event.clientX, event.clientY);
    });
    document.addEventListener("focusin", (event) => {
      const target = of(event);
      if (!target) return hide();
      const box = target.getBoundingClientRect();
      showAt(target, box.left, box.bottom - 12);
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    document.addEventListener("scroll", hide, { passive: true, capture: true });
  }

  // Which section is being read, in the contents beside the text.
  function reading() {
    const nav = document.querySelector("nav.aside");
    const links = new Map([...nav.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
    const places = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    let waiting = false;
    const update = () => {
      waiting = false;
      const passed = places.filter((place) => place.getBoundingClientRect().top < window.innerHeight / 3);
      const current = links.get((passed.at(-1) || places[0]).id);
      links.forEach((link) => {
        if (link !== current) link.removeAttribute("aria-current");
        else if (!link.hasAttribute("aria-current")) {
          link.setAttribute("aria-current", "true");
          nav.scrollTop = link.offsetTop - nav.clientHeight / 2;
        }
      });
    };
    document.addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    }, { passive: true });
    update();
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const add of [themes, pickers, enlarging, tips, reading, unfolding]) add();
  });
})();
