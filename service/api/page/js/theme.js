/** The button for light and dark. Without a choice the page follows the system. */

const THEME = "secondpass-theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** Let the button change the theme, and keep the choice in this browser. */
export function startTheme(button) {
  const show = () => {
    const chosen = localStorage.getItem(THEME);
    const theme = chosen ?? (dark.matches ? "dark" : "light");
    if (chosen) document.documentElement.dataset.theme = chosen;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use the ${theme === "dark" ? "light" : "dark"} theme`);
    return theme;
  };
  button.addEventListener("click", () => {
    localStorage.setItem(THEME, show() === "dark" ? "light" : "dark");
    show();
  });
  dark.addEventListener("change", show);
  show();
}
