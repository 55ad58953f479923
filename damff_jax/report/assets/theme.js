// The colours of the page: the system's scheme, or the one chosen with the button. The document's
// element gets the event `themechange` whenever they change.

const THEMES = ["auto", "light", "dark"];

function setUpTheme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const changed = () => root.dispatchEvent(new Event("themechange"));
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    changed();
  };
  let theme = remembered("theme");
  if (!THEMES.includes(theme)) theme = "auto";
  show(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", theme);
    show(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  // Paper is white, whatever the screen is.
  addEventListener("beforeprint", () => { root.dataset.theme = "light"; changed(); });
  addEventListener("afterprint", () => show(theme));
}

setUpTheme();

// A browser may keep nothing for pages that are opened from a file.
function remembered(name) {
  try { return localStorage.getItem(`damff-${name}`); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(`damff-${name}`, value); } catch { /* forgotten with the page */ }
}

// The present value of a colour of the style sheet, as a canvas takes it.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
