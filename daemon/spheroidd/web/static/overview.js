// The part of the overview that moves comes as HTML, made once for everybody who looks on.
import { ages, live } from "./live.js";

const part = document.getElementById("now");

live("/api/v1/live", {
  status(found) {
    const open = [...part.querySelectorAll("details[open]")].map((one) => one.dataset.alert);
    const focused = document.activeElement?.closest("#now a")?.getAttribute("href");
    const scroll = window.scrollY;
    part.innerHTML = found.html; // escaped by the server's templates
    for (const one of part.querySelectorAll("details")) one.open = open.includes(one.dataset.alert);
    if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    window.scrollTo(0, scroll);
    ages();
  },
});
